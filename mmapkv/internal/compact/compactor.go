// Package compact picks runs of segments and rewrites them, so that the room of what was
// overwritten, was deleted or has expired comes back.
//
// What must hold:
//
//   - New bytes are safe, then the index moves, then the old files go: see compactRun.
//   - A tombstone, or an expired record, is kept for as long as an older file holds the key.
//     Otherwise the older record would reappear at the next Open.
//   - One compaction runs at a time. It never writes to the log, so that a writer may wait for
//     it: a delete on a full disk does.
//   - Damage stops the rewrite of its own file, and of no other.
package compact

import (
	"context"
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// Options says what a compactor needs of its store.
type Options struct {
	Hasher         index.Hasher
	Now            func() time.Time
	GarbageRatio   float64 // of a segment that makes it worth rewriting
	BytesPerSecond int64   // read and written together; 0: as many as it can
	Disabled       bool    // nothing compacts in the background
	Manual         bool    // no pauses and no goroutine: a test takes the steps
	Stop           <-chan struct{}
	Closed         func() bool  // Close has begun
	Busy           func() bool  // calls are writing
	Writable       func() error // why the store takes no writes
	// UnlessEnded does something that waits for the disk or for others, and returns when
	// that is done, or when the context ends.
	UnlessEnded func(ctx context.Context, do func() error) error
	Between     func(phase string) // lets a test in between two steps
	Events      Events
}

// Events is told of compactions. Its methods may be called under any lock.
type Events interface {
	CompactionStarted(files []string, bytesIn int64)
	CompactionEnded(Ended)
	Corruption(failure.Damage)
}

// Ended says what a compaction did. It has the fields of mmapkv.CompactionEnded.
type Ended struct {
	Files             []string
	BytesIn, BytesOut int64
	Duration          time.Duration
	Err               error
}

// Compactor rewrites runs of segments, one at a time.
type Compactor struct {
	Options
	catalog *catalog.Catalog
	hints   *hints.Hints
	space   *space.Space
	sweeper *sweep.Sweeper
	log     *wal.Log

	Compacting chan struct{} // holds one token while somebody compacts
	liftBudget chan struct{} // holds one token when a delete waits for that on a full disk
	wake       chan struct{} // holds one token when Run has something to look at
}

// New makes the compactor of a log's files.
func New(c *catalog.Catalog, h *hints.Hints, p *space.Space, w *sweep.Sweeper, l *wal.Log, o Options) *Compactor {
	return &Compactor{
		Options: o, catalog: c, hints: h, space: p, sweeper: w, log: l,
		Compacting: make(chan struct{}, 1), liftBudget: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
}

// End waits for the compaction that runs. None follows.
func (c *Compactor) End() { c.Compacting <- struct{}{} }

// All rewrites everything that holds garbage worth reclaiming.
func (c *Compactor) All(ctx context.Context) error {
	if err := c.UnlessEnded(ctx, func() error { return c.SealGarbage(ctx) }); err != nil {
		return err
	}
	select {
	case c.Compacting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Stop:
		return failure.ErrClosed
	}
	rank.Acquire[rank.Compacting]()
	defer c.endCompacting()
	if err := c.Writable(); err != nil {
		return err
	}
	pacer, ended := c.NewPacer(ctx)
	defer ended()
	damage := c.tryAgain()
	after := segment.ID(0) // the file behind which the search goes on
	last := c.lastSealed()
	for {
		if err := pacer.Cancelled(); err != nil {
			return err
		}
		run := c.nextRun(after, last)
		if run == nil {
			return damage
		}
		m, err := c.CompactRun(pacer, run)
		c.space.Look(true)
		var damaged *damagedRun
		switch {
		case errors.As(err, &damaged):
			damage = errors.Join(damage, damaged.err)
			continue
		case err != nil:
			return err
		}
		if m.Run[len(m.Run)-1].ID == last {
			if m.Made == nil {
				return damage
			}
			last = m.Made.ID
		}
		if m.Made != nil {
			after = m.Made.ID
		}
	}
}

// endCompacting gives back the token.
func (c *Compactor) endCompacting() {
	<-c.Compacting
	rank.Release[rank.Compacting]()
}

// tryAgain makes segments that a compaction could not read once candidates again,
// and returns an error for those with garbage that are known to be damaged.
func (c *Compactor) tryAgain() (err error) {
	for _, one := range c.Candidates() {
		one.Unreadable.Store(false)
		if one.Damaged.Load() && one.garbage > one.size/space.Negligible {
			err = errors.Join(err, one.Corrupt(one.DataStart, "the segment is damaged somewhere, and is left as it is"))
		}
	}
	return err
}

// SealGarbage ends the tail if it holds garbage, and seals what has ended. What has
// expired is garbage.
func (c *Compactor) SealGarbage(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := c.sweeper.SweepAll(ctx); err != nil {
		return err
	}
	return c.log.SealTail(ctx, c.log.TailHasGarbage)
}

// compactInHurry says that writers or Close wait for a compaction.
func (c *Compactor) compactInHurry() bool { return c.space.IsFull() || c.Closed() }

// NewPacer makes what a compaction keeps pace with.
func (c *Compactor) NewPacer(ctx context.Context) (p *pace.Pacer, done func()) {
	p = &pace.Pacer{Ctx: ctx, Stop: c.Stop, Budget: c.BytesPerSecond, Lift: c.liftBudget,
		Hurry: c.compactInHurry, Busy: c.Busy, Began: time.Now()}
	if c.Manual {
		return p, func() {}
	}
	p.Napper = nap.New()
	return p, p.Napper.Close
}

// Step compacts one run, if one is worth it.
func (c *Compactor) Step() (did bool, err error) {
	return c.compactBest(context.Background())
}

func (c *Compactor) compactBest(ctx context.Context) (did bool, err error) {
	if c.catalog.Syncer.Err() != nil || c.Disabled {
		return false, nil
	}
	rank.Acquire[rank.Compacting]()
	c.Compacting <- struct{}{}
	defer c.endCompacting()
	run := c.bestRun()
	if run == nil {
		return false, nil
	}
	pacer, done := c.NewPacer(ctx)
	defer done()
	_, err = c.CompactRun(pacer, run)
	return true, err
}

// Run is the goroutine that gives back room. Open starts it, Close stops it by
// closing s.stop.
func (c *Compactor) Run() {
	for {
		for c.compactOnce() {
		}
		select {
		case <-c.Stop:
			return
		case <-c.wake:
		}
	}
}

// compactOnce compacts the best run, if one is worth it. It says whether to go on.
func (c *Compactor) compactOnce() (progress bool) {
	waiting := c.space.IsFull()
	if waiting {
		c.sealWaiting()
	}
	did, err := c.compactBest(context.Background())
	var damaged *damagedRun
	switch {
	case errors.Is(err, failure.ErrClosed):
		return false
	case err != nil && !errors.As(err, &damaged):
		did = false // it is tried again
	}
	// Who has begun to wait meanwhile has woken the compactor once more: there may be
	// something to do now.
	c.space.Look(did || !waiting)
	return did
}

// sealWaiting seals what has ended, lest the writers that wait are let go since
// nobody knows yet that it is garbage.
func (c *Compactor) sealWaiting() {
	for {
		if did, err := c.log.StepSeal(); err != nil || !did {
			return // on an error maintain tries again
		}
	}
}

// Wake makes the compactor look for something to do.
func (c *Compactor) Wake() { pace.Wake(c.wake) }
