package wal

import (
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// sealOldestLocked seals the oldest unsealed file, if that has ended, and reports whether it did.
// It does nothing if at most maxUnsealed files are unsealed. The prepared file does not count.
func (l *Log) sealOldestLocked(maxUnsealed int, mayReserve bool) (did bool, err error) {
	unsealed := l.catalog.Files.Unsealed()
	if l.Prepared != nil {
		unsealed = slices.DeleteFunc(unsealed, func(f *catalog.File) bool { return f == l.Prepared })
	}
	if len(unsealed) <= maxUnsealed {
		return false, nil
	}
	f := unsealed[0]
	end, ended := l.catalog.Files.IsEnded(f)
	if !ended {
		return false, nil
	}
	if end.Offset <= f.DataStart {
		return true, l.dropEmptyLocked(f, mayReserve)
	}
	return true, l.sealLocked(f, end, mayReserve)
}

// sealLocked makes an ended file immutable: sync, hint, manifest, in this order.
// Until then partial hints say what it holds.
func (l *Log) sealLocked(f *catalog.File, end segment.End, mayReserve bool) error {
	defer pace.Region("seal").End()
	if err := l.catalog.Syncer.SyncTo(end.Seq); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	checkSeal(f, end)
	if err := f.Active.Trim(); err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	if err := l.hints.Write(f, end, l.sealing.Pause); err != nil {
		return err
	}
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		if i := m.IndexOf(f.ID); i >= 0 {
			m.Segments[i].Sealed, m.Segments[i].End = true, end
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.catalog.Files.Sealed(f)
	l.hints.RemoveReplaced(f)
	l.WakeCompactor()
	l.residency.Wake()
	return nil
}

// dropEmptyLocked removes an ended file that has no records.
func (l *Log) dropEmptyLocked(f *catalog.File, mayReserve bool) error {
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		m.Delist(f.ID)
		return nil
	})
	if err != nil {
		return err
	}
	l.catalog.Files.Remove(f) // it was never sealed, so compaction must not see it as sealed
	l.catalog.RemoveFile(f)
	return nil
}
