package main

// orderMutants show scans another state than that of one commit, or another order.
var orderMutants = []mutant{
	{"a part of a table is believed unchecked", "segment/table_part.go",
		"	if partSeal(t.bound, data, place, t.salt) != t.parts[i].sum {", "	if len(data) == 0 {"},
	{"records above the State's number are shown", "mmapkv/internal/order/run_sorted.go",
		"		if r.heads.record.Seq <= r.seq {\n			r.i = i\n", "		if r.heads.record.Seq > 0 {\n			r.i = i\n"},
	{"records above the State's number are shown backward", "mmapkv/internal/order/run_sorted.go",
		"func() bool { return r.heads.record.Seq <= r.seq }", "func() bool { return r.heads.record.Seq > 0 }"},
	{"the table of a file that ended above the State's number is believed", "mmapkv/internal/order/state.go",
		"sealed && end.Seq <= s.seq {", "sealed && end.Seq > 0 {"},
	{"of one key the older run wins", "mmapkv/internal/order/step.go",
		"			if order != 0 && order < 0 !=", "			if order < 0 !="},
	{"of one key in a block the older run wins", "mmapkv/internal/order/block.go",
		"cmp.Compare(x, y))\n", "cmp.Compare(y, x))\n"},
	{"a tombstone in a block lets an older record through", "mmapkv/internal/order/block.go",
		"			continue // the next one is newer\n", "			if entries[words[i+1]&numberMask].Flags&segment.Tombstone == 0 {\n				continue\n			}\n"},
	{"a merge compares less than it must", "mmapkv/internal/order/block.go",
		"	shift := bits.LeadingZeros64(keyPrefix(high[same:]) - least)\n", "	shift := bits.LeadingZeros64(keyPrefix(high[same:])-least) + 8\n"},
	{"a damaged table ends the run", "mmapkv/internal/order/run_table.go",
		"	for !ok && r.cursor.Err() != nil {\n", "	for !ok && r.cursor == nil {\n"},
	{"a piece of a damaged table is kept", "mmapkv/internal/order/run_table.go",
		"		b.batch.Entries = b.batch.Entries[:from]\n", ""},
	{"records that nobody can read are left out", "mmapkv/internal/order/source.go",
		"len(lost) > 0 && !s.file.Damaged.Load() {", "len(lost) > 0 && s.file == nil {"},
	{"a State does not hold its files", "mmapkv/internal/order/plan.go",
		"	if p.holds--; p.holds > 0 {\n", "	if p.holds -= 2; p.holds > 0 {\n"},
	{"the last plan keeps retired files", "mmapkv/internal/catalog/retired.go",
		"		r.forget(f)\n", ""},
}

// captureMutants capture in the middle of a publish.
var captureMutants = []mutant{
	{"a capture does not wait for the publishing", "mmapkv/internal/order/order.go",
		"	o.Catalog.Publishing.Lock()\n	defer o.Catalog.Publishing.Unlock()\n", ""},
	{"publishing does not keep captures away", "mmapkv/internal/wal/publish.go",
		"	l.catalog.Publishing.Lock()\n	defer l.catalog.Publishing.Unlock()\n", ""},
}

// viewMutants believe a view where it does not hold.
var viewMutants = []mutant{
	{"a view is kept after one of its files was retired", "mmapkv/internal/order/view_make.go",
		"		o.view = nil\n", "		_ = o.view\n"},
	{"a State below a view's end uses it", "mmapkv/internal/order/state.go",
		"v != nil && v.seq <= seq {", "v != nil {"},
	{"a view begins behind the oldest file", "mmapkv/internal/order/view_make.go",
		"	for i, one := range sources {\n		run, err :=", "	for i, one := range sources {\n		if i == 0 && len(sources) > 2 {\n			one = sources[1]\n		}\n		run, err :="},
	{"a view that cannot be read ends the run", "mmapkv/internal/order/cursor.go",
		"	if c.err != errView && c.err != errMarks {\n", "	if c.err != errMarks {\n"},
	{"a short scan over a view passes newer records", "mmapkv/internal/order/step_view.go",
		"		if before != nil && !isBefore(e.Key, before, heading) ||", "		if"},
	{"a view leads a seek past the key", "mmapkv/internal/order/view_near.go",
		"v.nearOf(from) < near {", "v.nearOf(from) <= near {"},
	{"a view leads a seek before the key", "mmapkv/internal/order/view_near.go",
		"v.nearOf(end) == near {", "v.nearOf(end) < near {"},
}
