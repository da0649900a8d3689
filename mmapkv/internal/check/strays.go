package check

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// findStrays looks at the files that have our kind of name and are not in the manifest.
// It reports those that are newer than the manifest as damage, and remarks on the others.
func (v *verifier) findStrays() error {
	names, err := v.dir.Names()
	if err != nil {
		return err
	}
	newer, err := v.findNewer(names)
	if err != nil {
		return err
	}
	listed, sealed := map[segment.ID]bool{}, map[segment.ID]bool{}
	for _, info := range v.manifest.Segments {
		listed[info.ID], sealed[info.ID] = true, info.Sealed
	}
	for _, name := range names {
		id, kind, ours := segment.ParseFileName(name)
		switch i := slices.IndexFunc(newer, func(n listing.Newer) bool { return n.Name == name }); {
		case i >= 0:
			kind := NewerData
			if newer[i].Unread != nil {
				kind = DamagedSegment
			}
			v.damage(Damage{Kind: kind, File: name, Offset: newer[i].Offset, Reason: newer[i].Why(&v.manifest)})
		case !ours:
		case kind == segment.PartialFile && sealed[id]:
			v.remark(name, "its segment is sealed; a writer is about to remove it, or the next open removes it")
		case kind == segment.TemporaryFile, (kind == segment.SegmentFile || kind == segment.HintFile || kind == segment.PartialFile) && !listed[id]:
			v.remark(name, "the manifest does not name it; a writer is about to use or to remove it, or the next open removes it")
		}
	}
	return nil
}

// findNewer finds the files that are newer than the manifest. A writer lists a file before
// it writes the first record there. So a file that was found is newer if the manifest,
// read once more, is still the same.
func (v *verifier) findNewer(names []string) (newer []listing.Newer, err error) {
	for {
		if err := v.load(); err != nil {
			return nil, err
		}
		edit := v.manifest.Edit
		open := func(name string) (vfs.File, error) {
			if err := v.pacer.Cancelled(); err != nil {
				return nil, err
			}
			return v.dir.OpenReadOnly(name)
		}
		if newer, err = listing.FindNewer(open, names, &v.manifest); err != nil || len(newer) == 0 {
			return nil, err
		}
		if err := v.load(); err != nil {
			return nil, err
		}
		if v.manifest.Edit == edit {
			return newer, nil
		}
	}
}
