package main

// olderMutants take newer data for leftovers of a crash.
var olderMutants = []mutant{
	{"newer data is deleted", "mmapkv/internal/listing/strays.go",
		"	return seq > m.SealedSeq && !(given && seq <= m.LastSeq)\n", "	return false\n"},
	{"the end of a clean close is trusted", "mmapkv/internal/listing/strays.go",
		"	if !m.Clean || n == 0 ||", "	if true ||"},
	{"only the first record of a copy is checked", "mmapkv/internal/listing/strays.go",
		"		if n.seq <= m.SealedSeq {", "		if true {"},
}

// strayMutants take leftovers of a crash for newer data.
var strayMutants = []mutant{
	{"recovery does not announce its copies", "mmapkv/internal/recovery/commit.go",
		"	if err := r.announceCopies(files); err != nil {\n		return err\n	}\n", ""},
	{"recovery announces no ids", "mmapkv/internal/recovery/commit.go",
		"			m.NextID = min(m.NextID+catalog.MaxUnlisted, segment.MaxNextID)\n", ""},
}

// leftoverMutants do the same in cases that random tests seldom reach.
var leftoverMutants = []mutant{
	{"blocks of a listed file are taken for a newer one", "mmapkv/internal/listing/strays.go",
		"func(info segment.SegmentInfo) bool { return info.Salt == h.Salt }", "func(segment.SegmentInfo) bool { return false }"},
}
