package compact

import (
	"context"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// MakeRoom frees space on a full disk for a delete, and reports whether to try again. The leader
// of the log calls it. It drops partial hints. If there are none, it waits until the index is full.
// Then it drops files of which nothing is needed, then a hint, and then waits for a running compaction
// to drop more files.
func (c *Compactor) MakeRoom() bool {
	switch {
	case c.catalog.Latch.Err() != nil:
		return false
	case c.log.DropPartials():
		return true
	case c.AwaitLoaded() != nil:
		return false
	}
	return c.DropDead(false) || c.dropHint() || c.DropDead(true)
}

// Exclude calls do while nobody compacts, and while nobody begins to. It does not call do, and
// returns false, if somebody compacts now. Then maintenance is woken after that.
func (c *Compactor) Exclude(do func() (bool, error)) (did bool, err error) {
	c.refused.Store(true) // first, or the compaction could end unnoticed
	select {
	case c.Compacting <- struct{}{}:
		rank.Acquire[rank.Compacting]()
	default:
		return false, nil
	}
	c.refused.Store(false)
	defer c.giveBack()
	return do()
}

// endCompacting gives back the token. If maintenance tried to get it, it tries again now.
func (c *Compactor) endCompacting() {
	c.giveBack()
	if c.refused.CompareAndSwap(true, false) {
		c.log.WakeMaintenance()
	}
}

func (c *Compactor) giveBack() {
	<-c.Compacting
	rank.Release[rank.Compacting]()
}

// DropDead removes the oldest run of files of which nothing is needed, and reports whether it
// did. wait says whether to wait for a running compaction. DropDead is exported for tests.
func (c *Compactor) DropDead(wait bool) bool {
	select {
	case c.Compacting <- struct{}{}:
		rank.Acquire[rank.Compacting]()
	default:
		if !wait || c.Manual {
			return false
		}
		pace.Wake(c.liftBudget)
		if !c.begin(nil) {
			return false
		}
	}
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

// deadRun returns the oldest run of sealed files that hold nothing needed: no live record, and no
// tombstone that an older file could need. Compacting them takes no space.
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

// dropHint removes the hint of the oldest sealed file that has one. The next Open rebuilds it. It
// needs no token: a compaction that has the hint open reads on, and one that misses it rebuilds it.
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
