package main

// refusedMutants go on wrongly behind a write that was refused in the middle, a file
// that is gone, and a compaction that had no room for all that it was given.
var refusedMutants = []mutant{
	{"no sync of a cut tail", "mmapkv/internal/wal/append.go",
		"	err := active.Trim()\n	if err == nil {\n		err = active.Sync()\n	}\n", "	err := active.Trim()\n"},
	{"the tail is not cut", "mmapkv/internal/wal/append.go",
		"	err := active.Trim()\n	if err == nil {\n		err = active.Sync()\n	}\n", "	err := active.Sync()\n"},
	{"recovery joins records across missing numbers", "mmapkv/internal/recovery/copier.go", " || c.first != c.end.Seq+1 {", " {"},
	{"the end of a removed file is forgotten", "mmapkv/internal/wal/log.go",
		"	t.End.Seq = max(t.End.Seq, l.catalog.Manifest.Current.SealedSeq)\n", ""},
	{"recovery trusts all numbers", "mmapkv/internal/replay/scan.go",
		"		if !Credible(&e, lastSeq) {\n", "		if false {\n"},
	{"tombstones that did not fit are garbage", "mmapkv/internal/compact/rewrite.go", "		rw.noteNeeded(n)\n", ""},
}
