package mmapkv

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// A file's life: created and synced with nothing but its header, listed in the
// manifest, then the tail of the log, then ended, then sealed. At most two files
// are unsealed: the tail and either the one before it, until it is sealed, or
// the next, prepared ahead.

// enlist makes a file, durably, the youngest of the log, behind the tail. A
// prepared file gives way and comes later.
func (l *log) enlist(f *catalog.File, mayReserve bool) error {
	l.lockInHurry()
	defer l.unlockInHurry()
	return l.enlistLocked(f, mayReserve)
}

func (l *log) enlistLocked(f *catalog.File, mayReserve bool) error {
	for {
		// The tail may stay unsealed, nothing before it.
		sealed, err := l.sealOldestLocked(1, mayReserve)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	displaced := l.prepared
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		if displaced != nil {
			m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == displaced.ID })
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
		l.prepared = nil
		l.dropSpareLocked()
		l.spare = displaced
	}
	l.catalog.Files.Add(f)
	return nil
}

// dropSpareLocked removes the file that was prepared and is not listed any more.
func (l *log) dropSpareLocked() {
	if l.spare != nil {
		l.catalog.RemoveFile(l.spare)
		l.spare = nil
	}
}

// startFile makes a listed file the tail.
func (l *log) startFile(f *catalog.File) {
	t := &l.tail
	if t.file != nil {
		l.endTail()
	}
	t.file, t.previous, t.empty, t.half = f, t.end, true, false
	t.end = segment.End{Offset: f.DataStart, Seq: t.end.Seq}
}

// rotate makes a new file with room for size bytes of records the tail.
func (l *log) rotate(size int64, mayReserve bool) error {
	defer pace.Region("rotate").End()
	l.lockInHurry()
	defer l.unlockInHurry()
	capacity := max(l.catalog.SegmentSize, segment.HeaderSize+size)
	if l.prepared == nil || l.prepared.Capacity < capacity {
		if err := l.prepareLocked(capacity, mayReserve); err != nil {
			return err
		}
	}
	l.startPreparedLocked()
	l.wakeMaintenance()
	return nil
}

// startPreparedLocked makes the prepared file the tail.
func (l *log) startPreparedLocked() {
	f := l.prepared
	l.prepared = nil
	l.startFile(f)
	l.Events.Rotated(segment.FileName(f.ID))
}

// prepareLocked creates and lists the file in which the log goes on.
func (l *log) prepareLocked(capacity int64, mayReserve bool) error {
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
	l.prepared = f
	return nil
}
