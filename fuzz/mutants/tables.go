package main

// tableMutants write or read hints wrongly.
var tableMutants = []mutant{
	{"no check of a table's part", "segment/table_part.go",
		"	if partSeal(t.bound, data, place, t.salt) != t.parts[i].sum {", "	if false {"},
	{"no check of a table's directory", "segment/table.go",
		"	if le.Uint64(sum[:]) != uint64(hintSeal(s.sum, t.ID, t.salt)) || !t.isWhole(count) {", "	if !t.isWhole(count) {"},
	{"a part may be of another segment", "segment/hint_part.go", "part), salt, place, rolePart)", "part), 0, place, rolePart)"},
	{"a part may be of another place", "segment/hint_part.go", "part), salt, place, rolePart)", "part), salt, 0, rolePart)"},
	{"a part may be of an older hint", "segment/hint_part.go", "crc32.Update(bound, castagnoli, part)", "crc32.Update(0, castagnoli, part)"},
	{"a damaged part ends the reading", "segment/table_entries.go",
		"	e.open.count, e.next = 0, 0\n	return false\n", "	e.open.count, e.next, e.part = 0, 0, e.end\n	return false\n"},
	{"the order of keys is not checked", "segment/table_entries.go",
		"|| e.next > 0 && bytes.Compare(e.previous, suffix) >= 0 {", "{"},
	{"a fence is not checked", "segment/table_entries.go",
		"&& keyPrefix(key[len(common):]) == e.t.fences[e.part-1]", ""},
	{"a place is not checked", "segment/table_entries.go",
		"!ok || p.entryPlace(e.next) != place ||", "!ok || place < 0 ||"},
	{"an entry may point behind the file's end", "segment/hint_entry.go", "&& e.Size <= end-e.Offset", ""},
	{"a seek believes equal fences", "segment/table_part.go",
		"return same[i] > fence })\n", "return same[i] >= fence })\n"},
	{"a seek does not look into the part before", "segment/table_cursor.go", "	if from > 0 { //", "	if from > len(c.t.parts) { //"},
	{"a cursor goes on after an error", "segment/table_cursor.go", "	if c.err == nil && c.of != part {", "	if c.of != part {"},
	{"equal prefixes are taken for equal keys", "segment/hint_sort.go",
		"			s.further(items[:n], same+prefixSize, level+1)\n", "			s.newestFirst(items[:n])\n"},
	{"the oldest record of a key is kept", "segment/hint_sort.go", ".Seq; one > seq {", ".Seq; seq == 0 || one < seq {"},
	{"zeros at a key's end do not count", "segment/hint_sort.go",
		"		items[i].prefix = uint64(min(len(s.key(items[i]))-same, prefixSize))\n", "		items[i].prefix = prefixSize\n"},
}

// tableUseMutants believe a hint that is not whole.
var tableUseMutants = []mutant{
	{"verify does not read a hint's parts", "mmapkv/internal/check/hint.go", "		err = hint.Check()\n", "		err = nil\n"},
	{"a part that cannot be loaded counts as empty", "mmapkv/internal/load/collect.go",
		"	return c.entries.Err()\n", "	return nil\n"},
	{"a damaged part hides what other parts know of lost records", "segment/hint_builder.go",
		"			failed = cmp.Or(failed, err)\n			continue\n", "			return err\n"},
	{"salvage reads a hint up to a damaged part", "mmapkv/internal/salvage/source.go",
		"			continue // the entries of one part", "			break // the entries of one part"},
	{"salvage does without a hint that the system does not open", "mmapkv/internal/salvage/disk.go",
		"	if refusesUs(err) {\n		return err\n	}\n	if err == nil {\n", "	if err == nil {\n"},
	{"verify ends at a hint that cannot be opened", "mmapkv/internal/check/hint.go",
		"	case errno.Scarce(err) || errors.Is(err, fs.ErrPermission): //", "	case err != nil || errno.Scarce(err): //"},
	{"what has expired is counted twice", "mmapkv/internal/load/source.go", "		from.file.Expired.Store(0)", "		from.file.Expired.Add(0)"},
}
