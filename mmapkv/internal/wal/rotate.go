package wal

import (
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// enlist lists a file, durably, as the newest of the log, after the tail. A prepared file gives
// up its place and is kept as a spare.
func (l *Log) enlist(f *catalog.File, mayReserve bool) error {
	l.lockInHurry()
	defer l.unlockInHurry()
	return l.enlistLocked(f, mayReserve)
}

// enlistLocked is enlist for a caller that holds Maintenance.
func (l *Log) enlistLocked(f *catalog.File, mayReserve bool) error {
	if !l.catalog.Files.SlotsLeft() {
		return catalog.ErrNoSlot
	}
	for {
		// The tail may stay unsealed, but nothing before it.
		sealed, err := l.sealOldestLocked(1, mayReserve)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	displaced := l.Prepared
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		if displaced != nil {
			m.Delist(displaced.ID)
		}
		m.Clean = false
		m.Segments = append(m.Segments, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind})
		return nil
	})
	if err != nil {
		return err
	}
	if displaced != nil {
		l.catalog.Files.Remove(displaced)
		l.Prepared = nil
		l.dropSpareLocked()
		l.spare = displaced
	}
	l.catalog.Files.Add(f)
	return nil
}

// dropSpareLocked removes the spare, which is no longer listed.
func (l *Log) dropSpareLocked() {
	if l.spare != nil {
		l.catalog.RemoveFile(l.spare)
		l.spare = nil
	}
}

// startFile makes a listed file the tail.
func (l *Log) startFile(f *catalog.File) {
	t := &l.Tail
	if t.File != nil {
		l.EndTail()
	}
	l.catalog.CheckListed(f, false)
	t.File, t.previous, t.empty, t.halfFull = f, t.End, true, false
	t.End = segment.End{Offset: f.DataStart, Seq: t.End.Seq}
	t.partialDue = f.DataStart + l.PartStep
}

// Rotate makes a new file the tail, with room for size bytes of records. mayReserve lets it use
// the reserve. The leader calls it; it is exported for tests.
func (l *Log) Rotate(size int64, mayReserve bool) error {
	defer pace.Region("rotate").End()
	l.lockInHurry()
	defer l.unlockInHurry()
	capacity := max(l.catalog.SegmentSize, segment.HeaderSize+size)
	if l.Prepared == nil || l.Prepared.Capacity < capacity {
		if err := l.prepareLocked(capacity, mayReserve); err != nil {
			return err
		}
	}
	l.startPreparedLocked()
	l.WakeMaintenance()
	return nil
}

// startPreparedLocked makes the prepared file the tail.
func (l *Log) startPreparedLocked() {
	f := l.Prepared
	l.Prepared = nil
	l.startFile(f)
	l.Events.Rotated(segment.FileName(f.ID))
}

// prepareLocked creates and lists the file in which the log continues.
func (l *Log) prepareLocked(capacity int64, mayReserve bool) error {
	f := l.spare
	if f != nil && f.Capacity >= capacity {
		l.spare = nil
	} else {
		var err error
		f, err = l.catalog.CreateFile(capacity)
		for tried := 0; mayReserve && errno.OutOfSpace(err) && l.catalog.Reserve.Release(tried); tried++ {
			f, err = l.catalog.CreateFile(capacity)
		}
		if err != nil {
			return l.catalog.Latch.WriteError(err)
		}
		if err := l.catalog.SyncNewFile(f); err != nil {
			f.Retire()
			return err
		}
	}
	if err := l.enlistLocked(f, mayReserve); err != nil {
		l.catalog.RemoveFile(f)
		return err
	}
	l.Prepared = f
	return nil
}
