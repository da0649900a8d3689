package mmapkv

import (
	"errors"
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// Close finishes the writes in flight, syncs, and releases the store; reads in
// flight complete. Every call that starts afterwards is ErrClosed; a second Close
// returns what the first one did. The error is that of the last sync or of a
// failure before; what is on disk is safe to open again in any case.
func (s *Store) Close() error {
	s.closing.Do(func() {
		rank.Acquire[rank.Closing]()
		defer rank.Release[rank.Closing]()
		s.closed.Store(true)
		s.space.End()
		close(s.stop)
		s.endWatch()
		s.awaitWrites()
		s.running.Wait()
		if s.options.ReadOnly {
			s.endCompactions()
		} else {
			s.asLeader(func() {
				s.shut = true
				s.endCompactions()
				s.closeError = s.finish()
			})
		}
		s.closeError = errors.Join(s.closeError, s.release())
	})
	return s.closeError
}

// endCompactions waits for the compaction that runs; none follows.
func (s *Store) endCompactions() { s.compacting <- struct{}{} }

// finish brings everything to the disk and says in the manifest that it did, so
// that the next Open has nothing to scan. It runs as the last leader.
func (s *Store) finish() error {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if err := s.latch.Err(); err != nil {
		return err
	}
	if err := s.syncer.SyncTo(s.acknowledged.Load()); err != nil {
		return s.latch.SyncError(err)
	}
	if s.tail.clean && s.prepared == nil && s.spare == nil {
		return nil // nothing was written
	}
	s.dropSpareLocked()
	prepared := s.prepared
	s.prepared = nil
	s.endUnused()
	for {
		sealed, err := s.sealOldestLocked(0, true)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	if err := s.finishTail(); err != nil {
		return err
	}
	err := s.catalog.Edit(true, func(m *segment.Manifest) error {
		if prepared != nil {
			m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == prepared.ID })
		}
		m.Clean = true
		if n := len(m.Segments); n > 0 && !m.Segments[n-1].Sealed {
			m.Segments[n-1].End = s.tail.end
		}
		return nil
	})
	if err == nil && prepared != nil {
		s.catalog.Remove(segment.FileName(prepared.ID))
	}
	return err
}

// finishTail trims the tail and writes its hint. Should a power loss bring the
// old length back, the next Open leaves the file alone and goes on in another.
func (s *Store) finishTail() error {
	f := s.tail.file
	if f == nil {
		return nil
	}
	if err := f.Active.Trim(); err != nil {
		return s.latch.WriteError(err)
	}
	return s.hints.Write(f, s.tail.end, s.sealing.Pause)
}

// release lets go of everything: when it returns, what no read uses is unmapped and
// closed, and a closed Store in a variable holds neither files nor the index.
func (s *Store) release() error {
	s.walks.leave(s.catalog.Set())
	s.catalog.Current.Store(nil)
	files := s.catalog.Files.Drop()
	s.tail.file = nil
	s.maintenance.Lock() // a Compact that comes too late may be looking
	if s.spare != nil {
		files = append(files, s.spare)
	}
	s.prepared, s.spare = nil, nil
	s.maintenance.Unlock()
	for _, f := range files {
		f.Retire()
	}
	var err error
	if s.lock != nil {
		err = s.lock.Unlock()
	}
	err = errors.Join(err, s.catalog.Dir.Close())
	for _, f := range files {
		f.AwaitRelease()
	}
	s.catalog.Retired.AwaitReleases()
	return err
}
