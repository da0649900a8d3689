package main

// replayMutants misjudge which records of a log count. The tests of each caller of package
// replay must catch them.
var replayMutants = []mutant{
	{"a damaged value counts after the watermark", "mmapkv/internal/replay/log.go",
		"		if r.Seq > l.watermark {\n			f.stopped, l.torn = r.Offset, true\n			return false, lost\n		}\n", ""},
	{"a torn end is taken for damage", "mmapkv/internal/replay/log.go",
		"		if l.endsHere(f) || r.Seq-1 > l.watermark {", "		if l.endsHere(f) {"},
	{"a later file counts although the one before is short", "mmapkv/internal/replay/log.go", "		l.ended = next.file.HasFirst\n", ""},
}

// openBatchMutants count half a batch. Verify's tests cannot catch them: Verify counts the
// records of a batch that it has checked.
var openBatchMutants = []mutant{
	{"an open batch counts", "mmapkv/internal/replay/log.go", "	l.cutOpenBatch()\n", ""},
}

// replayDamageMutants lose more than the damage destroyed.
var replayDamageMutants = []mutant{
	{"damage is taken for a torn end", "mmapkv/internal/replay/log.go",
		"		if l.endsHere(f) || r.Seq-1 > l.watermark {", "		if true {"},
	{"the log ends before a damaged value", "mmapkv/internal/replay/log.go", "		if r.Seq > l.watermark {\n			f.stopped", "		if true {\n			f.stopped"},
	{"the next file's record of this one's end is ignored", "mmapkv/internal/replay/log.go",
		"	return next != nil && next.file.HasFirst && next.file.Previous == f.part.End\n", "	return next != nil && false\n"},
}

// unreadMutants put records that do not count into a file's damage, before its end.
// Verify's tests cannot catch them: Verify counts the records that it has found to count.
var unreadMutants = []mutant{
	{"damage reaches over records that do not count", "mmapkv/internal/replay/log.go", "\tif f.stopped > 0 {\n\t\treturn f.stopped\n\t}\n", ""},
}
