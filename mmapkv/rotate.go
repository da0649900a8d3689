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
func (s *Store) enlist(f *catalog.File, mayReserve bool) error {
	s.lockInHurry()
	defer s.unlockInHurry()
	return s.enlistLocked(f, mayReserve)
}

func (s *Store) enlistLocked(f *catalog.File, mayReserve bool) error {
	for {
		// The tail may stay unsealed, nothing before it.
		sealed, err := s.sealOldestLocked(1, mayReserve)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	displaced := s.prepared
	err := s.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
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
		s.catalog.Files.Remove(displaced)
		s.prepared = nil
		s.dropSpareLocked()
		s.spare = displaced
	}
	s.catalog.Files.Add(f)
	return nil
}

// dropSpareLocked removes the file that was prepared and is not listed any more.
func (s *Store) dropSpareLocked() {
	if s.spare != nil {
		s.catalog.RemoveFile(s.spare)
		s.spare = nil
	}
}

// startFile makes a listed file the tail.
func (s *Store) startFile(f *catalog.File) {
	t := &s.tail
	if t.file != nil {
		s.endTail()
	}
	t.file, t.previous, t.empty, t.half = f, t.end, true, false
	t.end = segment.End{Offset: f.DataStart, Seq: t.end.Seq}
}

// rotate makes a new file with room for size bytes of records the tail.
func (s *Store) rotate(size int64, mayReserve bool) error {
	defer pace.Region("rotate").End()
	s.lockInHurry()
	defer s.unlockInHurry()
	capacity := max(s.options.SegmentSize, segment.HeaderSize+size)
	if s.prepared == nil || s.prepared.Capacity < capacity {
		if err := s.prepareLocked(capacity, mayReserve); err != nil {
			return err
		}
	}
	s.startPreparedLocked()
	s.wakeMaintenance()
	return nil
}

// startPreparedLocked makes the prepared file the tail.
func (s *Store) startPreparedLocked() {
	f := s.prepared
	s.prepared = nil
	s.startFile(f)
	s.events.rotated(segment.FileName(f.ID))
}

// prepareLocked creates and lists the file in which the log goes on.
func (s *Store) prepareLocked(capacity int64, mayReserve bool) error {
	f := s.spare
	if f != nil && f.Capacity >= capacity {
		s.spare = nil
	} else {
		var err error
		f, err = s.catalog.CreateFile(capacity)
		for tried := 0; mayReserve && errno.OutOfSpace(err) && s.catalog.Reserve.Release(tried); tried++ {
			f, err = s.catalog.CreateFile(capacity)
		}
		if err != nil {
			return s.latch.WriteError(err)
		}
		if err := s.catalog.SyncNewFile(f); err != nil {
			f.Retire()
			return err
		}
	}
	if err := s.enlistLocked(f, mayReserve); err != nil {
		s.catalog.RemoveFile(f)
		return err
	}
	s.prepared = f
	return nil
}

// sealOldestLocked seals the oldest unsealed file, if it has ended and more than
// `most` files in front of the prepared one are unsealed.
func (s *Store) sealOldestLocked(most int, mayReserve bool) (did bool, err error) {
	unsealed := s.catalog.Files.Unsealed()
	if s.prepared != nil {
		unsealed = slices.DeleteFunc(unsealed, func(f *catalog.File) bool { return f == s.prepared })
	}
	if len(unsealed) <= most {
		return false, nil
	}
	f := unsealed[0]
	end, ended := s.catalog.Files.IsEnded(f)
	if !ended {
		return false, nil
	}
	if end.Offset <= f.DataStart {
		return true, s.dropEmptyLocked(f, mayReserve)
	}
	return true, s.sealLocked(f, end, mayReserve)
}

// sealLocked makes an ended file immutable: sync, hint, manifest, in this order.
func (s *Store) sealLocked(f *catalog.File, end segment.End, mayReserve bool) error {
	defer pace.Region("seal").End()
	if err := s.syncer.SyncTo(end.Seq); err != nil {
		return s.latch.SyncError(err)
	}
	if err := f.Active.Trim(); err != nil {
		return s.latch.WriteError(err)
	}
	if err := s.hints.Write(f, end, s.sealing.Pause); err != nil {
		return err
	}
	err := s.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		for i := range m.Segments {
			if m.Segments[i].ID == f.ID {
				m.Segments[i].Sealed, m.Segments[i].End = true, end
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.catalog.Files.Sealed(f)
	s.wakeCompact()
	s.residency.Wake()
	return nil
}

// dropEmptyLocked takes out an ended file that has no records.
func (s *Store) dropEmptyLocked(f *catalog.File, mayReserve bool) error {
	err := s.catalog.Edit(mayReserve, func(m *segment.Manifest) error {
		m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == f.ID })
		return nil
	})
	if err != nil {
		return err
	}
	s.catalog.Files.Remove(f) // it was never sealed: compaction must not see it so
	s.catalog.RemoveFile(f)
	return nil
}

// syncLog makes everything written so far durable, oldest file first. It is the
// syncer's sync: one call at a time.
func (s *Store) syncLog() (upTo uint64, err error) {
	defer pace.Region("sync").End()
	upTo = s.acknowledged.Load()
	for _, f := range s.catalog.Files.Unsealed() {
		if err := f.Sync(); err != nil {
			s.events.failed(err) // nobody may be waiting for it
			return 0, err
		}
	}
	return upTo, nil
}
