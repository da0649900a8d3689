// Package sweep takes records that have expired out of the index.
//
// A record expires without a noise: reads do not find it any more, and that is all.
// The sweep takes it out of the index, so that it neither counts as a key nor as
// live, wherever it lies: it waits for no rotation and no compaction.
//
// What must hold:
//
//   - The sweep reads the blocks in which something is due (see expiries), and nothing
//     else: what it costs follows from what expires. A store in which nothing
//     expires has neither a table nor a goroutine for it.
//   - It takes out what the index has of just that record, by compare-and-swap:
//     where a writer was faster, or compaction, that counts.
//   - What it has taken out still is a tombstone for what is older, on disk: Open finds
//     it, and a compaction treats it as it does a deleted key. Should the clock be set
//     back, the next Open finds a value again, so that a Delete of such a key is
//     written down; Store.hides says so before the index does.
//     A compaction that has found that the index has such a record, and then finds it
//     taken out, is told by sweptRecords that nothing newer has made it dead.
//   - It changes nothing on disk, but for ending a tail that has mostly expired, which
//     leads to its room being given back.
//   - It reads through system calls, so pages that are not in memory hold nobody up.
//     Damage is left to readers; what is behind it in its block is looked at again
//     later.
package sweep

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

const (
	// sweepPause is how long the background waits from one sweep to the next at least,
	// and sweepLook at most while anything expires: the clock may have been set forward.
	sweepPause = time.Second
	sweepLook  = 5 * time.Second
	// sweepAgain is when a block is looked at again that could not be read, in
	// milliseconds.
	sweepAgain = int64(time.Minute / time.Millisecond)
)

// Options says what a sweeper needs of its store.
type Options struct {
	Hasher index.Hasher
	Now    func() time.Time
	Manual bool            // no goroutine: a test takes the steps
	Stop   <-chan struct{} // closed to stop the goroutine
	// Background starts a goroutine that Close waits for.
	Background func(name string, fn func())
	// NewPacer makes what a sweep keeps pace with.
	NewPacer func(context.Context) (p *pace.Pacer, done func())
	// EndTail ends the file being written, if most of it has expired.
	EndTail func() error
}

// Sweeper takes expired records out of the index of a catalog's files.
type Sweeper struct {
	Options
	catalog  *catalog.Catalog
	Due      atomic.Int64              // nothing expires before, in Unix milliseconds
	Started  atomic.Bool               // there is a goroutine
	wake     chan struct{}             // holds one token when due is not never any more
	sweeping rank.Mutex[rank.Sweeping] // held while records are taken out; guards every file's swept
}

// New makes a sweeper, which knows of nothing that expires.
func New(c *catalog.Catalog, o Options) *Sweeper {
	w := &Sweeper{Options: o, catalog: c, wake: make(chan struct{}, 1)}
	w.Due.Store(expiry.Never)
	return w
}

// Expires notes that a record of a file, at an offset below size, expires, once the
// index points to it.
func (w *Sweeper) Expires(f *catalog.File, offset, size, at int64) {
	if f.ExpiriesOf(size).Add(offset, at) {
		w.ExpiresAt(at)
	}
}

// ExpiresAt notes that something expires.
func (w *Sweeper) ExpiresAt(at int64) {
	for {
		old := w.Due.Load()
		if old <= at {
			return
		}
		if w.Due.CompareAndSwap(old, at) {
			if old == expiry.Never {
				w.wakeUp()
			}
			return
		}
	}
}

// Start starts the goroutine that sweeps, if there is anything that expires
// and none yet. A write calls it, or Open: Close waits for either.
func (w *Sweeper) Start() {
	if w.Started.Load() || w.Manual || w.Due.Load() == expiry.Never {
		return
	}
	if w.Started.CompareAndSwap(false, true) {
		w.Background("expire", w.run)
	}
}

func (w *Sweeper) wakeUp() {
	pace.Wake(w.wake)
}

// expire is the goroutine that sweeps. startExpire starts it, Close stops it by
// closing s.stop.
func (w *Sweeper) run() {
	for {
		var timer <-chan time.Time
		if due := w.Due.Load(); due != expiry.Never {
			wait := time.UnixMilli(due).Sub(w.Now())
			timer = time.After(min(max(wait, sweepPause), sweepLook))
		}
		select {
		case <-w.Stop:
			return
		case <-w.wake:
			continue
		case <-timer:
		}
		if _, err := w.Step(); err != nil && !errors.Is(err, failure.ErrClosed) {
			w.catalog.Message(slog.LevelWarn, "mmapkv: the tail could not be ended, of which most has expired; it is tried again", "error", err)
		}
	}
}

// Step sweeps, if something is due, and then ends a tail that has mostly
// expired.
func (w *Sweeper) Step() (did bool, err error) {
	did, err = w.SweepAll(context.Background())
	if did && err == nil {
		err = w.EndTail()
	}
	return did, err
}

// SweepAll takes all that has expired by now out of the index, and says whether
// anything was due.
func (w *Sweeper) SweepAll(ctx context.Context) (did bool, err error) {
	now := w.Now().UnixMilli()
	if w.Due.Load() > now {
		return false, nil
	}
	defer pace.Region("expire").End()
	pacer, done := w.NewPacer(ctx)
	defer done()
	sweep := sweep{sweeper: w, pacer: pacer, now: now}
	w.Due.Store(expiry.Never) // whatever is added from here on lowers it anew
	l := w.catalog.Set()      // and what was added before is in this set
	if l == nil {
		return false, failure.ErrClosed
	}
	next := int64(expiry.Never)
	for _, f := range l.Order {
		t := f.Expiring.Load()
		if t == nil {
			continue
		}
		if err == nil && t.First.Load() <= now {
			err = sweep.file(f, t)
		}
		next = min(next, t.First.Load())
	}
	w.ExpiresAt(next)
	return true, err
}
