package mmapkv

import (
	"log/slog"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// The background seals files that have ended, and prepares the next one.

// maintain is the goroutine that seals and prepares files, so that writers find
// that done. Open starts it, Close stops it by closing s.stop.
func (s *Store) maintain() {
	defer s.paceSealing()()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		}
		for _, step := range []func() (bool, error){s.stepSeal, s.stepPrepare} {
			for {
				did, err := step()
				if err != nil {
					s.events.message(slog.LevelWarn, "mmapkv: background work failed; it is tried again", "error", err)
					break
				}
				if !did {
					break
				}
			}
		}
		s.restSealing()
	}
}

// wakeMaintenance has the background goroutine look for something to do.
func (s *Store) wakeMaintenance() {
	pace.Wake(s.wake)
}

// stepSeal seals one ended file.
func (s *Store) stepSeal() (did bool, err error) {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if s.syncer.Err() != nil {
		return false, nil
	}
	return s.sealOldestLocked(0, true) // compaction needs it, and gives back more
}

// stepPrepare creates the next file once the tail is half full.
func (s *Store) stepPrepare() (did bool, err error) {
	unsealed := s.catalog.Files.Unsealed()
	if len(unsealed) != 1 {
		return false, nil
	}
	tail := unsealed[0]
	if _, ended := s.catalog.Files.IsEnded(tail); !ended && tail.Limit() < tail.Capacity/2 {
		return false, nil
	}
	return s.prepare()
}

// prepare creates the file in which the log goes on, unless there is one, or two
// unsealed files already.
func (s *Store) prepare() (did bool, err error) {
	s.lockInHurry()
	defer s.unlockInHurry()
	if s.syncer.Err() != nil || s.prepared != nil || len(s.catalog.Files.Unsealed()) != 1 {
		return false, nil
	}
	if err := s.catalog.Reserve.Hold(); err != nil {
		return false, err
	}
	return true, s.prepareLocked(s.options.SegmentSize, false)
}

// paceSealing makes sealing step aside, unless somebody waits for it, until the
// function that it returns is called.
func (s *Store) paceSealing() (stop func()) {
	napper := nap.New()
	set := func(n *nap.Napper) {
		s.maintenance.Lock()
		defer s.maintenance.Unlock()
		napper.Close()
		s.sealing = pace.Pacer{Napper: n, Hurry: s.sealInHurry, Busy: s.beingWritten}
	}
	set(napper)
	return func() { set(nil) }
}

// restSealing gives back the descriptor that sealing has stepped aside with.
func (s *Store) restSealing() {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if s.sealing.Napper != nil {
		s.sealing.Napper.Close()
	}
}

func (s *Store) sealInHurry() bool {
	return s.sealWaiters.Load() > 0 || s.space.IsFull() || s.closed.Load()
}

// lockInHurry locks maintenance for a writer, for whom sealing hurries.
func (s *Store) lockInHurry() {
	s.sealWaiters.Add(1)
	s.maintenance.Lock()
}

func (s *Store) unlockInHurry() {
	s.maintenance.Unlock()
	s.sealWaiters.Add(-1)
}
