package main

// lateMutants hear what the disk says late, and do nothing about it.
var lateMutants = []mutant{
	{"the manifest's identity is not checked", "mmapkv/internal/catalog/names.go", "	case id != m.identity:\n		return errManifestGone\n", ""},
	{"the active file's name is not checked", "mmapkv/internal/catalog/names.go",
		"		if name := segment.FileName(f.ID); !f.name.stays(c.Dir, name) {", "		if name := segment.FileName(f.ID); f == nil {"},
	{"the name LOCK is not checked", "mmapkv/internal/catalog/names.go",
		"	if !c.LockName.stays(c.Dir, segment.LockName) {", "	if false {"},
	{"the tail stays at the limit", "mmapkv/internal/wal/commit.go", "errors.Is(err, failure.ErrFailed) || empty {", "errors.Is(err, failure.ErrFailed) || !empty {"},
	{"a hint that cannot be opened is rebuilt", "mmapkv/internal/load/source.go", "		if errno.Scarce(err) {\n", "		if errno.Scarce(nil) {\n"},
	{"a hint that cannot be opened counts as empty", "mmapkv/internal/hints/hints.go",
		"	if err = h.addLost(f, hint, end, pause); errno.Scarce(err) {\n", "	if err = h.addLost(f, hint, end, pause); false {\n"},
}

// revivedMutants make a key absent for a moment that no commit leaves absent.
var revivedMutants = []mutant{
	{"a key is absent while its batch is published", "mmapkv/internal/wal/publish.go",
		"				if last, put := w.revived[fp]; !put || last < i {", "				if true {"},
}
