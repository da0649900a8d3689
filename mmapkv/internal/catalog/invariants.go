package catalog

import (
	"fmt"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/segment"
)

// The functions in this file check what must hold. They do nothing without the build tag
// invariants.

// checkEdit checks what no edit of the manifest may change: the order of the files that stay is
// their age, and numbers only grow. (Recovery gives ids back in memory, see announceCopies there.)
// The manifest before it may come from a hostile disk, so its
// own order is not an invariant.
func checkEdit(before, next *segment.Manifest) {
	if !invariant.Enabled {
		return
	}
	invariant.Check(next.NextID >= before.NextID && next.LastSeq >= before.LastSeq &&
		next.Watermark >= before.Watermark && next.SealedSeq >= before.SealedSeq, "an edit takes back numbers: %+v, %+v", before, next)
	at := -1 // of the last file that stays
	for _, info := range next.Segments {
		was := before.IndexOf(info.ID)
		if was < 0 {
			continue
		}
		invariant.Check(was > at, "an edit changes the order of the files: %+v, %+v", before, next)
		old := before.Segments[was]
		invariant.Check(!old.Sealed || info == old, "an edit changes a sealed file: %+v, %+v", old, info)
		at = was
	}
	invariant.Check(!isByAge(before) || isByAge(next), "an edit takes the files out of order: %+v, %+v", before, next)
}

// isByAge reports whether the sealed files come first, the log reached no lower sequence number in
// a file than in the one before it, and no file has an id that was never given.
func isByAge(m *segment.Manifest) bool {
	reached, unsealed := uint64(0), false
	for _, info := range m.Segments {
		if !info.Sealed {
			unsealed = true
			continue
		}
		if unsealed || info.End.Seq < reached || info.ID >= m.NextID {
			return false
		}
		reached = info.End.Seq
	}
	return true
}

// CheckListed checks that the durable manifest lists a file, and as sealed or not.
func (c *Catalog) CheckListed(f *File, sealed bool) {
	if !invariant.Enabled {
		return
	}
	c.Manifest.Mu.Lock()
	defer c.Manifest.Mu.Unlock()
	at := c.Manifest.Current.IndexOf(f.ID)
	invariant.Check(at >= 0 && c.Manifest.Current.Segments[at].Sealed == sealed, "the manifest does not list file %d, sealed %t", f.ID, sealed)
}

// checkUnlisted checks that the manifest does not list the segment with a file name.
func (c *Catalog) checkUnlisted(name string) {
	if !invariant.Enabled {
		return
	}
	id, kind, _ := segment.ParseFileName(name)
	if kind != segment.SegmentFile {
		return
	}
	c.Manifest.Mu.Lock()
	defer c.Manifest.Mu.Unlock()
	invariant.Check(c.Manifest.Current.IndexOf(id) < 0, "%s is removed, but the manifest lists it", name)
}

// CheckAlive checks, while nobody changes the index, that the index points to exactly the records
// that are alive by the bits of their files.
func (c *Catalog) CheckAlive() {
	if invariant.Enabled && c.Loaded.Load() {
		wrong := c.FindWrongBits()
		invariant.Check(wrong == "", "%s", wrong)
	}
}

// FindWrongBits says where the bits of the files and the index differ, "" if they do not. Nobody
// changes the index meanwhile. It is exported for tests.
func (c *Catalog) FindWrongBits() (wrong string) {
	set := c.Set()
	if set == nil {
		return ""
	}
	keys, alive := 0, 0
	set.Keys.Range(func(_ index.Fingerprint, loc index.Location) bool {
		keys++
		if f := set.File(loc); f == nil || !f.Alive.Test(loc.Offset()) {
			wrong = fmt.Sprintf("the index points to offset %d of slot %d, and the record there is not alive by its bit", loc.Offset(), loc.Slot())
		}
		return wrong == ""
	})
	for _, f := range set.Order {
		alive += f.Alive.Count()
	}
	if wrong == "" && alive != keys {
		wrong = fmt.Sprintf("%d records are alive by their bits, and the index has %d keys", alive, keys)
	}
	return wrong
}
