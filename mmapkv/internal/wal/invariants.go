package wal

import (
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// The functions in this file check what must hold. They do nothing without the build tag
// invariants.

// checkTail checks before a write that the tail's file still gets records: only a file that has
// ended is sealed.
func (l *Log) checkTail() {
	if !invariant.Enabled {
		return
	}
	f := l.Tail.File
	_, ended := l.catalog.Files.IsEnded(f)
	invariant.Check(!ended, "file %d is written after its end", f.ID)
	invariant.Check(f.Active.End() == l.Tail.End.Offset, "file %d is written at %d, the log ends at %d", f.ID, f.Active.End(), l.Tail.End.Offset)
}

// checkSeal checks that a file is sealed where its writes ended, and that readers see no byte
// behind that.
func checkSeal(f *catalog.File, end segment.End) {
	if invariant.Enabled {
		invariant.Check(f.Active.End() == end.Offset, "file %d is sealed at %d, but ends at %d", f.ID, end.Offset, f.Active.End())
		invariant.Check(f.Limit() <= end.Offset, "file %d is sealed at %d, but readers see %d bytes", f.ID, end.Offset, f.Limit())
	}
}

// checkPublished checks that readers may see a record before the index points to it.
func checkPublished(f *catalog.File, offset, size int64) {
	if invariant.Enabled {
		invariant.Check(offset >= f.DataStart && offset+size <= f.Limit(), "the index gets %d bytes at %d of file %d, which ends at %d", size, offset, f.ID, f.Limit())
	}
}

// checkPartial checks that what a partial hint covers is durable, and that readers see all of it.
func checkPartial(l *Log, f *catalog.File, r segment.Range) {
	if invariant.Enabled {
		invariant.Check(r.To.Seq <= l.catalog.Syncer.Durable(), "a partial hint of file %d ends at record %d, but %d is durable", f.ID, r.To.Seq, l.catalog.Syncer.Durable())
		invariant.Check(r.To.Offset <= f.Limit(), "a partial hint of file %d ends at %d, but readers see %d bytes", f.ID, r.To.Offset, f.Limit())
	}
}
