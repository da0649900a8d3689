package main

// aliveMutants let the bits that say what is alive differ from the index, or believe them too much.
var aliveMutants = []mutant{
	{"a bit is set after the index has the record", "mmapkv/internal/wal/publish.go",
		"	f.Enliven(offset, size, keySize)\n	old = keys.Put(fp, index.MakeLocation(f.Slot, offset, size))\n",
		"	old = keys.Put(fp, index.MakeLocation(f.Slot, offset, size))\n	f.Enliven(offset, size, keySize)\n"},
	{"a bit is cleared before the index lets go of the record", "mmapkv/internal/wal/publish.go",
		"	f.Enliven(offset, size, keySize)\n",
		"	f.Enliven(offset, size, keySize)\n	if old := keys.Get(fp); old != index.NoLocation {\n		l.catalog.Set().File(old).Alive.Clear(old.Offset())\n	}\n"},
	{"a copy's bit is set after the index has the copy", "mmapkv/internal/compact/run.go",
		"	f.Enliven(offset, size, int(move.keySize))\n	if !c.catalog.Files.Keys.CompareAndSwap(index.Fingerprint{Hash: move.hash, Check: move.check}, move.from, to) {\n		f.Kill(offset, size, int(move.keySize))\n	}\n",
		"	if c.catalog.Files.Keys.CompareAndSwap(index.Fingerprint{Hash: move.hash, Check: move.check}, move.from, to) {\n		f.Enliven(offset, size, int(move.keySize))\n	}\n"},
	{"the bit of a copy that lost its swap stays set", "mmapkv/internal/compact/run.go",
		"		f.Kill(offset, size, int(move.keySize))\n", "		f.Kill(offset, size, int(move.keySize))\n		f.Alive.Set(offset)\n"},
	{"the bit of an overwritten record stays set", "mmapkv/internal/wal/publish.go",
		"		f.Kill(old.Offset(), f.RecordSize(old), keySize)\n", "		f.Kill(old.Offset(), f.RecordSize(old), keySize)\n		f.Alive.Set(old.Offset())\n"},
	{"the bit of a swept record stays set", "mmapkv/internal/sweep/sweeper.go",
		"		f.Kill(r.Location.Offset(), r.Size, r.KeySize)\n", "		f.Kill(r.Location.Offset(), r.Size, r.KeySize)\n		f.Alive.Set(r.Location.Offset())\n"},
	{"a loser's bit stays set while loading", "mmapkv/internal/load/collect.go",
		"		f.Alive.Clear(r.Location.Offset())\n", "		_ = r.Location.Offset()\n"},
	{"the bit of what a loaded record replaces stays set", "mmapkv/internal/load/collect.go",
		"			older.Kill(lost.Location.Offset(), older.RecordSize(lost.Location), keySize(r))\n",
		"			older.Kill(lost.Location.Offset(), older.RecordSize(lost.Location), keySize(r))\n			older.Alive.Set(lost.Location.Offset())\n"},
	{"the bit of a record that is loaded twice is cleared", "mmapkv/internal/load/collect.go",
		"	if c.Catalog.Files.Keys.Get(r.Fingerprint()) != r.Location {", "	{"},
	{"loaded tombstones are alive", "mmapkv/internal/load/collect.go",
		"		if !loc.Tombstone() {\n			f.Alive", "		if loc != 0 {\n			f.Alive"},
	{"Range believes the bit of a record that was moved", "mmapkv/range.go",
		"	if !r.settled || f.Dropped.Load() {", "	if !r.settled {"},
	{"Range believes bits that are about to be cleared", "mmapkv/range.go",
		"	if !r.settled || f.Dropped.Load() {", "	if f.Dropped.Load() {"},
	{"Range passes over a live record by a rotten size", "mmapkv/range.go",
		"	if alive.SamePlace(next, at) {\n		return", "	if next >= at {\n		return"},
	{"compaction passes over a live record by a rotten size", "mmapkv/internal/compact/rewrite.go",
		"	if !alive.SamePlace(walker.Offset(), at) {", "	if !alive.SamePlace(walker.Offset(), at) && walker.Offset() < at {"},
}

// bitMutants break the bits themselves.
var bitMutants = []mutant{
	{"two records share a bit", "mmapkv/internal/alive/alive.go",
		"const PlaceSize = segment.RecordHeaderSize", "const PlaceSize = segment.RecordHeaderSize + 8"},
	{"a piece that lost is used", "mmapkv/internal/alive/alive.go",
		"	return at.Load()\n}", "	return fresh\n}"},
	{"bits before the place are not left out", "mmapkv/internal/alive/alive.go",
		".Load() >> (place % wordBits); word != 0 {\n			return int64(place+", ".Load(); word != 0 {\n			return int64(place/wordBits*wordBits+"},
}
