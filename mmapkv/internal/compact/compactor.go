// Package compact answers which segments to rewrite, and rewrites them, so that the space of
// overwritten, deleted and expired records is reclaimed.
//
// What must hold:
//
//   - New bytes are safe, then the index moves, then the old files go: see CompactRun.
//   - A tombstone, or an expired record, is kept as long as an older file holds the key.
//     Otherwise the older record would reappear at the next Open.
//   - One compaction runs at a time. It never writes to the log, so a writer may wait for it, as
//     a delete on a full disk does.
//   - A damaged file stops only its own rewrite.
package compact

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
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

// Options is what a compactor needs from its store.
type Options struct {
	// Hasher computes the fingerprints of keys.
	Hasher index.Hasher
	// Now is the clock that decides what has expired.
	Now func() time.Time
	// GarbageRatio is the share of garbage from which a segment is worth rewriting, above 0 and
	// at most 1.
	GarbageRatio float64
	// BytesPerSecond limits what compaction reads and writes together; 0 is no limit.
	BytesPerSecond int64
	// Disabled says that nothing compacts in the background.
	Disabled bool
	// Manual says that a test takes the steps: there are no pauses, and no goroutine.
	Manual bool
	// Stop is closed when the store closes. It ends Run and every compaction.
	Stop <-chan struct{}
	// Closed reports whether Close has begun.
	Closed func() bool
	// Busy reports whether any calls are writing.
	Busy func() bool
	// Writable returns why the store takes no writes; nil if it does.
	Writable func() error
	// UnlessEnded calls do, which waits for the disk or for others. It returns when do is done or
	// when ctx ends, whichever is first. In the second case do runs on until it checks ctx. See
	// Locks in mmapkv/doc.go for why the holder of the token may wait for it.
	UnlessEnded func(ctx context.Context, do func() error) error
	Loaded      func() bool  // reports whether the index is full; nothing is compacted before
	AwaitLoaded func() error // waits until Loaded, or returns why that may never be
	// Between, if set, lets a test run code between two steps of a compaction.
	Between func(phase string)
	// Events is told of compactions.
	Events Events
}

// Events is told of compactions. Its methods may be called under any lock.
type Events interface {
	// CompactionStarted reports the names of the files to rewrite, oldest first, and their size
	// in bytes.
	CompactionStarted(files []string, bytesIn int64)
	// CompactionEnded reports a compaction that is over. It follows every CompactionStarted.
	CompactionEnded(Ended)
	// Corruption reports damage that a compaction found.
	Corruption(failure.Damage)
}

// Ended is what a compaction did. It has the fields of mmapkv.CompactionEnded.
type Ended struct {
	// Files are the names of the rewritten files, oldest first.
	Files []string
	// BytesIn and BytesOut count the bytes read and written, without hints.
	BytesIn, BytesOut int64
	// Duration is the time from start to end, including pauses.
	Duration time.Duration
	// Err is why the compaction failed; nil if it did not.
	Err error
}

// Compactor rewrites runs of segments, one at a time. All methods may be called concurrently.
type Compactor struct {
	Options
	catalog *catalog.Catalog
	hints   *hints.Hints
	space   *space.Space
	sweeper *sweep.Sweeper
	log     *wal.Log

	// Compacting holds one token while somebody compacts. Close takes the token and keeps it. The
	// channel is exported for tests.
	Compacting chan struct{}
	refused    atomic.Bool // Exclude did not get the token, and is to be tried again
	// liftBudget holds one token when a delete on a full disk waits for a compaction, which then
	// ignores its byte budget.
	liftBudget chan struct{}
	wake       chan struct{} // holds one token when Run has something to look at
}

// New makes the compactor of a catalog's files.
func New(c *catalog.Catalog, h *hints.Hints, p *space.Space, w *sweep.Sweeper, l *wal.Log, o Options) *Compactor {
	return &Compactor{
		Options: o, catalog: c, hints: h, space: p, sweeper: w, log: l,
		Compacting: make(chan struct{}, 1), liftBudget: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
}

// End waits for the running compaction, and keeps the token so that no other starts.
func (c *Compactor) End() {
	rank.Acquire[rank.Compacting]()
	defer rank.Release[rank.Compacting]() // nobody else waits for it any more
	c.Compacting <- struct{}{}
}

// All seals the tail if it holds garbage, and rewrites every segment that holds enough garbage to
// be worth it. It waits for a running compaction. It returns the context's error if that ends
// first, ErrClosed when the store closes, and ErrCorrupt for segments that it left alone because
// they are damaged.
func (c *Compactor) All(ctx context.Context) error {
	if err := c.UnlessEnded(ctx, func() error { return c.SealGarbage(ctx) }); err != nil {
		return err
	}
	if !c.begin(ctx.Done()) {
		return cmp.Or(ctx.Err(), failure.ErrClosed)
	}
	defer c.endCompacting()
	if err := c.Writable(); err != nil {
		return err
	}
	pacer, ended := c.NewPacer(ctx)
	defer ended()
	damage := c.tryAgain()
	after := segment.ID(0) // the search continues after this file
	last := c.lastSealed()
	for {
		if err := pacer.Cancelled(); err != nil {
			return err
		}
		run := c.nextRun(after, last)
		if run == nil {
			return damage
		}
		rw, err := c.CompactRun(pacer, run)
		c.space.Look(true)
		var damaged *damagedRun
		switch {
		case errors.As(err, &damaged):
			damage = errors.Join(damage, damaged.err)
			continue // without the damaged file, which CompactRun has marked
		case err != nil:
			return err
		}
		if rw.Run[len(rw.Run)-1].ID == last {
			if rw.Output == nil {
				return damage
			}
			last = rw.Output.ID
		}
		if rw.Output != nil {
			after = rw.Output.ID
		}
	}
}

// begin waits for the token, and reports false if done or Stop is closed first.
func (c *Compactor) begin(done <-chan struct{}) bool {
	rank.Acquire[rank.Compacting]()
	select {
	case c.Compacting <- struct{}{}:
		return true
	case <-done:
	case <-c.Stop:
	}
	rank.Release[rank.Compacting]()
	return false
}

// tryAgain makes segments candidates again that an earlier compaction could not read. It returns
// an error for each segment that holds garbage but is known to be damaged.
func (c *Compactor) tryAgain() (err error) {
	for _, one := range c.Candidates() {
		one.Unreadable.Store(false)
		if one.Damaged.Load() && one.garbage > one.size/space.Negligible {
			err = errors.Join(err, one.Corrupt(one.DataStart, "the segment is damaged somewhere, and is left as it is"))
		}
	}
	return err
}

// SealGarbage sweeps, ends the tail if it holds garbage, and seals what has ended. The sweep
// comes first because expired records are garbage. SealGarbage is exported for tests.
func (c *Compactor) SealGarbage(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := c.sweeper.SweepAll(ctx); err != nil {
		return err
	}
	return c.log.SealTail(ctx, c.log.TailHasGarbage)
}

// compactInHurry reports whether writers or Close wait for a compaction.
func (c *Compactor) compactInHurry() bool { return c.space.IsFull() || c.Closed() }

// NewPacer makes the pacer of one compaction. It is exported for tests.
func (c *Compactor) NewPacer(ctx context.Context) (p *pace.Pacer, done func()) {
	p = &pace.Pacer{Ctx: ctx, Stop: c.Stop, Budget: c.BytesPerSecond, Lift: c.liftBudget,
		Hurry: c.compactInHurry, Busy: c.Busy, Began: time.Now()}
	if c.Manual {
		return p, func() {}
	}
	p.Napper = nap.New()
	return p, p.Napper.Close
}

// Step rewrites the best run, if one is worth it, and reports whether there was one. A test calls
// it in place of Run.
func (c *Compactor) Step() (did bool, err error) {
	return c.compactBest(context.Background())
}

// compactBest is Step with a context.
func (c *Compactor) compactBest(ctx context.Context) (did bool, err error) {
	if c.catalog.Syncer.Err() != nil || c.Disabled || !c.Loaded() {
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

// Run is the goroutine that reclaims space. Open starts it, and Close stops it by closing Stop.
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

// compactOnce rewrites the best run, if one is worth it, and reports whether to continue.
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
		did = false // Run tries again when it is woken
	}
	// Writers that began to wait during this compaction have woken the compactor once more. There
	// may be work for it now.
	c.space.Look(did || !waiting)
	return did
}

// sealWaiting seals what has ended. Compaction reclaims only sealed files. If it did not seal
// them first, there could seem to be nothing to reclaim, and the waiting writers would be
// released.
func (c *Compactor) sealWaiting() {
	for {
		if did, err := c.log.StepSeal(); err != nil || !did {
			return // Maintain retries after an error
		}
	}
}

// Wake makes Run look for work. It does not wait.
func (c *Compactor) Wake() { pace.Wake(c.wake) }
