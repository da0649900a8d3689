package main

// partialMutants write partial hints of what they must not cover, or believe one that they must not.
var partialMutants = []mutant{
	{"a partial hint ends beyond what is durable", "mmapkv/internal/wal/partial.go",
		"	durable := l.catalog.Syncer.Durable() >= p.written\n", "	durable := p.written > 0\n"},
	{"a limit is noted after how far the log is written", "mmapkv/internal/wal/partial.go",
		"			p.limit, p.written = limit, l.Written.Load()\n", "			p.limit, p.written = limit, l.catalog.Syncer.Durable()\n"},
	{"a partial hint of another place is believed", "mmapkv/internal/hints/partial.go",
		"	return one.From == p.End()\n", "	return true\n"},
	{"what a partial hint says was on disk is forgotten", "mmapkv/internal/recovery/recovery.go",
		"MarkDurable(max(u.found.Watermark, u.partials.Synced))", "MarkDurable(max(u.found.Watermark, u.partials.End().Seq))"},
	{"recovery scans from the wrong place", "mmapkv/internal/replay/scan.go",
		"	from := max(known.DataStart, known.Known.Offset)\n", "	from := known.DataStart\n"},
	{"a partial hint behind the end of the file is used", "mmapkv/internal/hints/partial.go",
		" || one.To.Offset > size || !one.IsIn(f.Handle(), f.Salt) {", " {"},
	{"a rotten partial hint loses its keys", "mmapkv/internal/load/source.go",
		"		l.giveUpTable(from)\n", "		if from.recovered {\n			from.read, from.loaded = true, true\n			return\n		}\n"},
	{"records of a recovered file that rotted are forgotten", "mmapkv/internal/hints/hints.go",
		"	if err := h.addLostPartials(f, hint, end.Offset); err != nil {\n		return nil, err\n	}\n", ""},
	{"the background writes no hint of a recovered file", "mmapkv/internal/load/recovered.go",
		"			f.HintMissing.Store(true)\n", ""},
	{"partial hints of a sealed file stay", "mmapkv/internal/wal/seal.go", "	l.hints.RemoveReplaced(f)\n", ""},
	{"partial hints go beside an old hint", "mmapkv/internal/catalog/unlisted.go", " || below[f.ID] > 0 && !c.hintCovers(f) {", " {"},
	{"partial hints go although there is no hint", "mmapkv/internal/hints/partial.go", "	if f.HintBytes.Load() > 0 {\n", "	if true {\n"},
	{"a partial hint is published after a failed sync", "mmapkv/internal/hints/partial.go",
		"		return 0, err // what was believed durable may not be\n", "		_ = err\n"},
	{"a partial hint that goes again counts as space", "mmapkv/internal/wal/partial.go",
		"	p := &l.partials\n	switch {", "	p := &l.partials\n	plan.file.PartialBytes.Add(size)\n	switch {"},
	{"a full disk forgets the file without partial hints", "mmapkv/internal/wal/partial.go", "	if f := l.growingLocked(); f != l.partials.file {", "	if f := l.growingLocked(); f == l.Prepared && false {"},
	{"salvage does not ask partial hints", "mmapkv/internal/salvage/partial.go", "{ s.ask(in, p.Table) })", "{})"},
	{"salvage forgets what partial hints say was on disk", "mmapkv/internal/salvage/listed.go", ", found[i].Watermark, in.partial.To.Seq)", ", found[i].Watermark)"},
	{"Open goes on without partial hints that the system does not open", "mmapkv/internal/hints/partial.go",
		"		if errno.Scarce(err) {\n			p.Close()\n			return nil, err\n		}\n", ""},
	{"what several rotten partial hints stand for is counted several times", "mmapkv/internal/load/source.go",
		"	if l.isRepeated(from) {", "	if l.isRepeated(from) && false {"},
	{"partial hints of a compacted file stay", "mmapkv/internal/compact/run.go", "		c.hints.RemovePartials(f) //", "		//"},
	{"partial hints do not count as space", "mmapkv/internal/space/space.go", " + f.PartialBytes.Load()", ""},
	{"verify ignores what partial hints say was on disk", "mmapkv/internal/check/partial.go",
		"	v.known = max(v.known, hint.To.Seq)\n", ""},
}

// partialFormatMutants accept partial hints that no writer writes, or write some.
var partialFormatMutants = []mutant{
	{"a partial hint ends inside a batch", "segment/partial.go", "	for open := true; open || s.Offset()", "	for open := true; open && b.count == 0 || s.Offset()"},
	{"a partial hint is not bound to its segment", "segment/partial.go",
		"ID(le.Uint64(header[partialIDAt:])) != id || le.Uint32(header[partialSumAt:]) != partialSeal(header[:], end[:], id, salt)",
		"partialSeal(header[:], end[:], id, salt) == 0"},
	{"a partial hint may have the table of another range", "segment/partial.go", "	return seal(crc32.Update(sum, castagnoli, end), salt", "	return seal(sum, salt"},
	{"the table of a partial hint is one of a whole hint", "segment/partial.go",
		"	return salt ^ uint64(roleRange) ^ uint64(from)*0x9e3779b97f4a7c15\n", "	return salt + 0*uint64(from)\n"},
	{"gaps between records are covered", "segment/partial.go", "		} else if e.Seq != r.To.Seq+1 {", "		} else if false {"},
	{"impossible ranges are believed", "segment/partial.go", "	if !p.isSound() || ", "	if "},
}

// knownMutants misjudge the records that partial hints know.
var knownMutants = []mutant{
	{"known records do not count as found", "mmapkv/internal/replay/log.go",
		"		f.part.Records, f.part.End = f.file.KnownRecords, f.file.Known\n", "		f.part.End = f.file.Known\n"},
	{"what is known is discarded", "mmapkv/internal/replay/log.go",
		"	f.found, f.foundEnd = f.file.KnownRecords, f.file.Known.Offset\n", "	f.found, f.foundEnd = 1+f.file.KnownRecords, f.file.DataStart\n"},
}
