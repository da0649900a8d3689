package mmapkv

import (
	"errors"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Close stops loading, waits for the writes in flight, syncs, and releases the store. Reads in flight
// complete. Scans, iterators and snapshots end with their next step. Every call that starts afterwards returns
// ErrClosed, and a second Close returns what the first one did. The error is that of the last sync or
// of an earlier failure. Whatever it is, the files
// on disk are safe to open again.
func (s *Store) Close() error {
	s.closing.once.Do(func() {
		rank.Acquire[rank.Closing]()
		defer rank.Release[rank.Closing]()
		s.closed.Store(true)
		s.holds.endAll()
		s.space.End()
		close(s.stop)
		s.loading.Halt()
		endWatch(s)
		s.awaitWrites()
		s.running.Wait()
		s.loading.Close()
		if s.options.ReadOnly {
			s.compactor.End()
		} else {
			s.closing.err = s.log.Close(s.compactor.End)
		}
		s.catalog.CheckAlive()
		s.closing.err = errors.Join(s.closing.err, s.release())
	})
	return s.closing.err
}

// release lets go of everything. When it returns, memory and descriptors that no read uses are
// released, and a closed Store that a variable still holds keeps neither files nor the index.
func (s *Store) release() error {
	s.walks.handOver(s.catalog.Set())
	s.catalog.Publish(nil)
	files := s.catalog.Files.Drop()
	s.order.Close()
	if spare := s.log.Drop(); spare != nil {
		files = append(files, spare)
	}
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
