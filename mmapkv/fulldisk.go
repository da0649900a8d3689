package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// makeRoom finds room on a full disk for a delete, and says whether to try again.
// It is called by the leader.
func (s *Store) makeRoom() bool {
	if s.latch.Err() != nil {
		return false
	}
	return s.dropDead(false) || s.dropHint() || s.dropDead(true)
}

// dropDead takes out files of which nothing is needed. wait says whether to wait
// for a compaction that runs.
func (s *Store) dropDead(wait bool) bool {
	select {
	case s.compacting <- struct{}{}:
	default:
		if !wait || s.manual() {
			return false
		}
		pace.Wake(s.liftBudget)
		select {
		case s.compacting <- struct{}{}:
		case <-s.stop:
			return false
		}
	}
	rank.Acquire[rank.Compacting]()
	defer s.endCompacting()
	run := s.deadRun()
	if run == nil {
		return false
	}
	pacer, done := s.newPacer(context.Background())
	defer done()
	pacer.Budget = 0 // writers wait for it
	_, err := s.compactRun(pacer, run)
	return err == nil
}

// deadRun is the oldest run of sealed files that hold nothing that is needed, so
// that no room is needed to compact it: no live record, and no tombstone that an
// older file could need.
func (s *Store) deadRun() []*catalog.File {
	list := s.candidates()
	var run []candidate
	oldest := true
	for i, c := range list {
		if c.eligible && c.dead && (oldest || !c.MayShadow.Load()) && len(run) < maxRun {
			run = list[i-len(run) : i+1]
			continue
		}
		if run != nil {
			break
		}
		oldest = false
	}
	return filesOf(run)
}

// dropHint removes the hint of the oldest sealed file that has one.
func (s *Store) dropHint() bool {
	for _, c := range s.candidates() {
		if !c.eligible || c.HintBytes.Swap(0) == 0 {
			continue
		}
		if err := s.catalog.Unlink(segment.HintName(c.ID)); err == nil {
			return true
		}
	}
	return false
}
