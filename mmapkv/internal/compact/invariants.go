package compact

import (
	"slices"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// The functions in this file check what must hold. They do nothing without the build tag
// invariants.

// checkSynced checks that the log is on disk as far as anything that made a record of the run dead.
func (c *Compactor) checkSynced(needed uint64) {
	if invariant.Enabled {
		durable := c.catalog.Syncer.Durable()
		invariant.Check(durable >= needed, "a run is replaced while the log is on disk up to %d, not %d", durable, needed)
	}
}

// checkMoved checks that the index does not point into a file that is about to go, and not beyond
// the end of the file that it points into.
func (c *Compactor) checkMoved(move move) {
	if !invariant.Enabled {
		return
	}
	now := c.catalog.Files.Keys.Get(index.Fingerprint{Hash: move.hash, Check: move.check})
	if now == index.NoLocation {
		return
	}
	f := c.catalog.Set().File(now)
	invariant.Check(f != nil && !f.Dropped.Load(), "the index points into slot %d, whose file goes", now.Slot())
	if size, known := now.Size(); known {
		invariant.Check(now.Offset()+size <= f.Limit(), "the index points to %d bytes at %d of file %d, which ends at %d", size, now.Offset(), f.ID, f.Limit())
	}
}

// checkHidden checks that a file which is about to be removed is not in the set that readers load.
func (c *Compactor) checkHidden(f *catalog.File) {
	if invariant.Enabled {
		set := c.catalog.Set()
		invariant.Check(!slices.Contains(set.Files, f) && !slices.Contains(set.Order, f), "file %d is removed, but readers may load it", f.ID)
	}
}
