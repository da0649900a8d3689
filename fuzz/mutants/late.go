package main

// lateMutants hear what the disk says late, and do nothing about it.
var lateMutants = []mutant{
	{"nobody looks for the manifest", "mmapkv/watch.go", "	case id != m.identity:\n		return errManifestGone\n", ""},
	{"nobody looks for the file being written", "mmapkv/watch.go",
		"i >= 0 && !m.current.Segments[i].Sealed; i--", "i >= len(m.current.Segments); i--"},
	{"the tail stays at the limit", "mmapkv/write.go", "errors.Is(err, ErrFailed) || empty {", "errors.Is(err, ErrFailed) || !empty {"},
	{"a hint that cannot be opened is made anew", "mmapkv/load.go", "		if isScarce(err) {\n", "		if false {\n"},
	{"a hint that cannot be opened knows nothing", "mmapkv/rotate.go", "	if isScarce(err) {\n", "	if false {\n"},
}
