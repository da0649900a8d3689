package main

// damageMutants do not look whether what they read is what was written.
var damageMutants = []mutant{
	{"no header checksum in reads", "segment/record.go",
		"	if stored == 0 || stored != seal(crc32.Update(0, castagnoli, data[valueSumAt:head]), salt, offset, roleHeader) {", "	if stored == 0 {"},
	{"no value checksum in reads", "mmapkv/lookup.go",
		"		if checkValue && !f.record.ValueOK() {", "		if false {"},
	{"no value checksum in compaction", "segment/walker.go",
		"	if r.valueSum != seal(sum, r.salt, r.offset, roleValue) {", "	if false {"},
	{"compaction passes over damage", "mmapkv/internal/compact/rewrite.go",
		"			return unreadable(f, offset, err)\n		}\n		rw.bytesIn +=", "			return nil\n		}\n		rw.bytesIn +="},
	{"no checksum of a hint's part", "segment/table_part.go",
		"	if partSeal(t.bound, data, place, t.salt) != t.parts[i].sum {", "	if false {"},
	{"the hint of a recovery omits damage", "mmapkv/internal/recovery/commit.go", "	if u.counts.Damaged {", "	if false {"},
	{"no checksum of a manifest", "segment/manifest.go",
		"	if binary.LittleEndian.Uint32(header[blockSumAt:]) != blockSum(header, body) {", "	if false {"},
}

// editMutants make edits of the manifest that are not there later, or find some that
// were not made.
var editMutants = []mutant{
	{"no sync of an edit", "mmapkv/internal/catalog/manifest.go",
		"	if err := f.Datasync(); err != nil {\n		return false, left, &fsync", "	if err := error(nil); err != nil {\n		return false, left, &fsync"},
	{"an edit is written once", "mmapkv/internal/catalog/manifest.go",
		"	for _, place := range m.Edits.Places() {\n		n, err", "	for i, place := range m.Edits.Places() {\n		if i > 0 {\n			break\n		}\n		n, err"},
	{"an edit of unknown outcome is not a failure", "mmapkv/internal/catalog/manifest.go",
		"Step: \"syncing an edit\", SyncFailed: true,", "Step: \"syncing an edit\","},
	{"the remains of an edit stay", "mmapkv/internal/catalog/manifest.go",
		"	if eraseErr := m.eraseLocked(dir, left); eraseErr != nil {", "	if eraseErr := error(nil); eraseErr != nil {"},
	{"an edit that cannot be undone is not a failure", "mmapkv/internal/catalog/manifest.go",
		"Step: \"taking back an edit\", Tried: true,", "Step: \"taking back an edit\","},
	{"Open trusts an edit that it found", "mmapkv/internal/catalog/unlisted.go",
		"	if err := c.Manifest.commitOwn(c.Edit); err != nil {\n		return err\n	}\n	for", "	for"},
}

// manifestMutants read edits that are not there, or not those that are.
var manifestMutants = []mutant{
	{"an edit's checksum is not checked", "segment/manifest_edits.go",
		"	if binary.LittleEndian.Uint32(b[editChangeSumAt:]) != changeSum(b, salt, int64(offset)) {", "	if false {"},
	{"a torn edit counts", "segment/manifest_edits.go",
		"	if binary.LittleEndian.Uint32(b[editChangeSumAt:]) != changeSum(b, salt, int64(offset)) {",
		"	if binary.LittleEndian.Uint32(b[editChangeSumAt:]) == 0 {"},
	{"edits have no salt", "segment/manifest_edits.go",
		"castagnoli, b[editChangeSumAt:editHeaderSize]), salt, offset, roleEdit)", "castagnoli, b[editChangeSumAt:editHeaderSize]), 0, offset, roleEdit)"},
	{"edits may have gaps", "segment/manifest_read.go",
		"			if ok && (at > end || number != r.manifest.Edit+1) {", "			if ok && false {"},
	{"one half is read", "segment/manifest_read.go",
		"		if !ok || number != r.manifest.Edit+1 {", "		if i > 0 || !ok || number != r.manifest.Edit+1 {"},
	{"a manifest of another length is read", "segment/manifest_read.go",
		"	if first.version > firstManifestVersion && len(data) != 2*first.half {", "	if len(data) < first.half {"},
}
