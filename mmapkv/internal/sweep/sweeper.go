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
	s := &Sweeper{Options: o, catalog: c, wake: make(chan struct{}, 1)}
	s.Due.Store(expiry.Never)
	return s
}

// Expires notes that a record of a file, at an offset below size, expires, once the
// index points to it.
func (s *Sweeper) Expires(f *catalog.File, offset, size, at int64) {
	if f.ExpiriesOf(size).Add(offset, at) {
		s.ExpiresAt(at)
	}
}

// ExpiresAt notes that something expires.
func (s *Sweeper) ExpiresAt(at int64) {
	for {
		old := s.Due.Load()
		if old <= at {
			return
		}
		if s.Due.CompareAndSwap(old, at) {
			if old == expiry.Never {
				s.wakeUp()
			}
			return
		}
	}
}

// Start starts the goroutine that sweeps, if there is anything that expires
// and none yet. A write calls it, or Open: Close waits for either.
func (s *Sweeper) Start() {
	if s.Started.Load() || s.Manual || s.Due.Load() == expiry.Never {
		return
	}
	if s.Started.CompareAndSwap(false, true) {
		s.Background("expire", s.run)
	}
}

func (s *Sweeper) wakeUp() {
	pace.Wake(s.wake)
}

// expire is the goroutine that sweeps. startExpire starts it, Close stops it by
// closing s.stop.
func (s *Sweeper) run() {
	for {
		var timer <-chan time.Time
		if due := s.Due.Load(); due != expiry.Never {
			wait := time.UnixMilli(due).Sub(s.Now())
			timer = time.After(min(max(wait, sweepPause), sweepLook))
		}
		select {
		case <-s.Stop:
			return
		case <-s.wake:
			continue
		case <-timer:
		}
		if _, err := s.Step(); err != nil && !errors.Is(err, failure.ErrClosed) {
			s.catalog.Message(slog.LevelWarn, "mmapkv: the tail could not be ended, of which most has expired; it is tried again", "error", err)
		}
	}
}

// Step sweeps, if something is due, and then ends a tail that has mostly
// expired.
func (s *Sweeper) Step() (did bool, err error) {
	did, err = s.SweepAll(context.Background())
	if did && err == nil {
		err = s.EndTail()
	}
	return did, err
}

// SweepAll takes all that has expired by now out of the index, and says whether
// anything was due.
func (s *Sweeper) SweepAll(ctx context.Context) (did bool, err error) {
	now := s.Now().UnixMilli()
	if s.Due.Load() > now {
		return false, nil
	}
	defer pace.Region("expire").End()
	pacer, done := s.NewPacer(ctx)
	defer done()
	sweep := sweep{sweeper: s, pacer: pacer, now: now}
	s.Due.Store(expiry.Never) // whatever is added from here on lowers it anew
	set := s.catalog.Set()      // and what was added before is in this set
	if set == nil {
		return false, failure.ErrClosed
	}
	next := int64(expiry.Never)
	for _, f := range set.Order {
		t := f.Expiring.Load()
		if t == nil {
			continue
		}
		if err == nil && t.First.Load() <= now {
			err = sweep.file(f, t)
		}
		next = min(next, t.First.Load())
	}
	s.ExpiresAt(next)
	return true, err
}

// Record is a record of a file that has expired.
type Record struct {
	Fp       index.Fingerprint
	Location index.Location
	Size     int64
	KeySize  int
}

// Expire takes a record that has expired out of the index, unless that has
// another one of the key, or none.
func (s *Sweeper) Expire(f *catalog.File, r *Record) {
	s.catalog.Hides.Store(true)
	if s.catalog.Files.Keys.CompareAndSwap(r.Fp, r.Location, index.NoLocation) {
		f.AddLive(r.Size, r.KeySize, -1)
		f.Expired.Add(r.Size)
	}
}

// Watch has the sweep tell what it takes out of the files, from here on, until
// the function that it returns is called.
func (s *Sweeper) Watch(files []*catalog.File) (stop func()) {
	set := func(make func() *expiry.Swept) {
		s.sweeping.Lock() // one that is being taken out was so before
		defer s.sweeping.Unlock()
		for _, f := range files {
			f.Swept.Store(make())
		}
	}
	set(expiry.NewSwept)
	return func() { set(func() *expiry.Swept { return nil }) }
}
