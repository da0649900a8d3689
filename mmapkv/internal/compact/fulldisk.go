package compact

import (
	"context"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// MakeRoom finds room on a full disk for a delete, and says whether to try again.
// It is called by the leader.
func (c *Compactor) MakeRoom() bool {
	if c.catalog.Latch.Err() != nil {
		return false
	}
	return c.DropDead(false) || c.dropHint() || c.DropDead(true)
}

// DropDead takes out files of which nothing is needed. wait says whether to wait
// for a compaction that runs.
func (c *Compactor) DropDead(wait bool) bool {
	select {
	case c.Compacting <- struct{}{}:
	default:
		if !wait || c.Manual {
			return false
		}
		pace.Wake(c.liftBudget)
		select {
		case c.Compacting <- struct{}{}:
		case <-c.Stop:
			return false
		}
	}
	rank.Acquire[rank.Compacting]()
	defer c.endCompacting()
	run := c.deadRun()
	if run == nil {
		return false
	}
	pacer, done := c.NewPacer(context.Background())
	defer done()
	pacer.Budget = 0 // writers wait for it
	_, err := c.CompactRun(pacer, run)
	return err == nil
}

// deadRun is the oldest run of sealed files that hold nothing that is needed, so
// that no room is needed to compact it: no live record, and no tombstone that an
// older file could need.
func (c *Compactor) deadRun() []*catalog.File {
	list := c.Candidates()
	var run []Candidate
	oldest := true
	for i, one := range list {
		if one.Eligible && one.dead && (oldest || !one.MayShadow.Load()) && len(run) < maxRun {
			run = list[i-len(run) : i+1]
			continue
		}
		if run != nil {
			break
		}
		oldest = false
	}
	return FilesOf(run)
}

// dropHint removes the hint of the oldest sealed file that has one.
func (c *Compactor) dropHint() bool {
	for _, one := range c.Candidates() {
		if !one.Eligible || one.HintBytes.Swap(0) == 0 {
			continue
		}
		if err := c.catalog.Unlink(segment.HintName(one.ID)); err == nil {
			return true
		}
	}
	return false
}
