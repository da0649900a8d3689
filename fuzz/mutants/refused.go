package main

// refusedMutants continue wrongly after a write that was refused in the middle, a file that is
// gone, or a compaction that had no space for all of its input.
var refusedMutants = []mutant{
	{"no sync of a cut tail", "mmapkv/write.go",
		"	err := active.Trim()\n	if err == nil {\n		err = active.Sync()\n	}\n", "	err := active.Trim()\n"},
	{"the tail is not cut", "mmapkv/write.go",
		"	err := active.Trim()\n	if err == nil {\n		err = active.Sync()\n	}\n", "	err := active.Sync()\n"},
	{"recovery joins records across missing numbers", "mmapkv/copier.go", " || c.first != c.end.Seq+1 {", " {"},
	{"the end of a removed file is forgotten", "mmapkv/open.go",
		"	t.end.Seq = max(t.end.Seq, s.manifest.current.SealedSeq)\n", ""},
	{"recovery trusts all numbers", "mmapkv/scan.go",
		"		case replay.Credible(&e, lastSeq):\n", "		default:\n"},
	{"tombstones that did not fit are garbage", "mmapkv/merge.go", "		m.leavePins(n)\n", ""},
}
