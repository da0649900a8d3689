package main

// snapshotMutants make snapshots show what was not there at their moment, leave out what was, or keep
// what nobody needs.
var snapshotMutants = []mutant{
	{"a snapshot shows what was written later", "mmapkv/snapshot_lookup.go",
		"		case r.record.Seq > h.state.Seq():\n", "		case r.record.Seq > h.state.Seq()+9:\n"},
	{"what the index lost since was never there", "mmapkv/snapshot_lookup.go",
		"	if damaged || !h.unchanged() {\n", "	if damaged {\n"},
	{"a write counts as a change only when it is published", "mmapkv/snapshot_lookup.go",
		"m.store.log.Written.Load() == m.state.Seq()", "m.store.log.Published.Load() == m.state.Seq()"},
	{"a sweep does not count as a change", "mmapkv/snapshot_lookup.go",
		" && m.store.catalog.Judged.Load() <= m.now\n", "\n"},
	{"keys expire in a snapshot", "mmapkv/snapshot_lookup.go",
		"r.Expired(m.now)", "r.Expired(m.store.now().UnixMilli())"},
	{"a snapshot believes an index that is not full", "mmapkv/snapshot_lookup.go",
		"	if !s.catalog.Loaded.Load() {\n", "	if s == nil {\n"},
	{"a record that cannot be read is no record", "mmapkv/snapshot_lookup.go",
		"			damaged = true // or", "			damaged = false // or"},
	{"what had expired is found in the state", "mmapkv/snapshot_lookup.go",
		"	if !ok || h.leavesOut(&e) {\n", "	if !ok {\n"},
	{"a read leaves the hold in use", "mmapkv/snapshot_read.go",
		"		defer n.hold.leave()\n", ""},
	{"a scan shows pairs of a snapshot that has ended", "mmapkv/scan.go",
		"	if sc.hold != nil {\n		return sc.hold.err()\n	}\n", ""},
	{"the limit ends the youngest snapshots", "mmapkv/snapshot_limit.go",
		"			return open[:i+1]\n", "			return open[i:]\n"},
	{"the limit counts a file once for each snapshot", "mmapkv/snapshot_limit.go",
		"		if _, has := r[f]; !has && f.Dropped.Load() {\n", "		if f.Dropped.Load() {\n"},
	{"an old snapshot is reported again and again", "mmapkv/snapshot_limit.go",
		"			h.told = true\n", ""},
	{"an Iterator does not keep its snapshot from the collector", "mmapkv/snapshot.go",
		"hold: n.hold, of: n, keysOnly", "hold: n.hold, of: &Snapshot{hold: n.hold}, keysOnly"},
}

// findMutants make Find miss the newest record of a key, or find another.
var findMutants = []mutant{
	{"the oldest sorted run of a file decides", "mmapkv/internal/order/find.go",
		"	for n := len(t.runs) - 1; n >= 0; n-- {\n", "	for n := range t.runs {\n"},
	{"the oldest file decides", "mmapkv/internal/order/find.go",
		"	for number := len(s.plan.sources) - 1; number >= first; number-- {\n", "	for number := first; number < len(s.plan.sources); number++ {\n"},
	{"Find takes a record that was sorted for a later State", "mmapkv/internal/order/find.go",
		"		if r.heads.record.Seq <= r.seq {\n", "		if r.seq > 0 {\n"},
	{"Find takes a tombstone for a value", "mmapkv/internal/order/find.go",
		"	if !ok || err != nil || e.Flags&segment.Tombstone != 0 {\n", "	if !ok || err != nil || e.Flags&segment.Tombstone != 0 && e.Seq == 0 {\n"},
	{"a view that is younger than the State is used", "mmapkv/internal/order/find.go",
		" || v.broken.Load() || v.seq > s.seq {\n", " || v.broken.Load() {\n"},
	{"a filter is believed before it has all keys", "mmapkv/internal/order/filter.go",
		"f.table == t && f.whole.Load() {\n", "f.table == t {\n"},
	{"a filter has other bits than are asked for", "mmapkv/internal/order/filter.go",
		"func (f *filter) add(hash uint64) {\n	b, places := f.block(hash)\n", "func (f *filter) add(hash uint64) {\n	b, places := f.block(hash + 1)\n"},
	{"the last part of a table is not searched", "segment/table_find.go",
		" && part > 0 && c.findIn(part-1, key)\n", " && part > 0 && part < to && c.findIn(part-1, key)\n"},
}
