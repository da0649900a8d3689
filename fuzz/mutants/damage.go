package main

// damageMutants do not look whether what they read is what was written.
var damageMutants = []mutant{
	{"no header checksum in reads", "segment/record.go",
		"	if stored == 0 || stored != seal(crc32.Update(0, castagnoli, data[valueSumAt:head]), salt, offset, roleHeader) {", "	if stored == 0 {"},
	{"no value checksum in reads", "mmapkv/read.go",
		"		if checkValue && !f.record.ValueOK() {", "		if false {"},
	{"no value checksum in compaction", "segment/copy.go",
		"	if r.valueSum != seal(sum, r.salt, r.offset, roleValue) {", "	if false {"},
	{"compaction passes over damage", "mmapkv/merge.go",
		"			return unreadable(f, offset, err)\n		}\n		m.in +=", "			return nil\n		}\n		m.in +="},
	{"no checksum of a hint", "segment/hint_reader.go",
		"	if binary.LittleEndian.Uint64(buf) != uint64(hintSeal(sum, id, salt)) {", "	if false && sum == 0 {"},
	{"the hint of a recovery knows of no damage", "mmapkv/recovery.go", "	if u.damaged {", "	if false {"},
	{"no checksum of a manifest", "segment/manifest.go",
		"	if binary.LittleEndian.Uint32(header[blockSumAt:]) != blockSum(header, body) {", "	if false {"},
}
