package main

// lateMutants hear what the disk says late, and do nothing about it.
var lateMutants = []mutant{
	{"nobody looks for the manifest", "mmapkv/watch.go", "	case id != m.identity:\n		return errManifestGone\n", ""},
	{"nobody looks for the file being written", "mmapkv/watch.go",
		"		if name := segment.FileName(f.ID); !f.name.stays(s.dir, name) {", "		if name := segment.FileName(f.ID); f == nil {"},
	{"nobody looks for LOCK", "mmapkv/watch.go",
		"	if !s.lockName.stays(s.dir, segment.LockName) {", "	if false {"},
	{"the tail stays at the limit", "mmapkv/write.go", "errors.Is(err, ErrFailed) || empty {", "errors.Is(err, ErrFailed) || !empty {"},
	{"a hint that cannot be opened is made anew", "mmapkv/load.go", "		if errno.Scarce(err) {\n", "		if false {\n"},
	{"a hint that cannot be opened knows nothing", "mmapkv/hints.go", "	if errno.Scarce(err) {\n", "	if false {\n"},
}

// revivedMutants make a key absent for a moment that no commit leaves absent.
var revivedMutants = []mutant{
	{"a key is absent while its batch is published", "mmapkv/write.go",
		"				if w.revived[print] <= i {", "				if true {"},
}
