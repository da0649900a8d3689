// Package sweep answers which records have expired by now, and takes them out of the index.
//
// Expiry itself changes nothing: reads just no longer find the record. The sweep then takes the
// record out of the index, wherever it lies, so that it no longer counts as a key or as live. It
// does not wait for a rotation or a compaction.
//
// What must hold:
//
//   - The sweep reads only blocks in which something is due (see package expiry), so its cost
//     follows from what expires. A store in which nothing expires has no table and no goroutine
//     for it.
//   - The sweep removes an index entry only if it still points to that very record, by
//     compare-and-swap. If a writer or a compaction was faster, their entry stays.
//   - On disk, a swept record still acts as a tombstone for older records of its key: Open finds
//     it, and a compaction treats it as it treats a deleted key. If the clock is set back, the
//     next Open finds a value again. So a Delete of such a key must be logged even though the
//     index does not have it: Catalog.Hides says so before the index loses the entry.
//   - A compaction may find a record in the index that is then swept. expiry.Swept tells it so,
//     and it knows that no newer record replaced this one.
//   - The sweep changes nothing on disk, except that it ends a tail that has mostly expired, so
//     that its space can be reclaimed.
//   - The sweep reads through system calls, so pages that are not in memory delay nobody. It
//     leaves damage to readers, and looks again later at what lies past the damage in its block.
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
	// minPause is the minimum wait of the background from one sweep to the next.
	minPause = time.Second
	// maxPause is the maximum wait while anything expires: the clock may be set forward.
	maxPause = 5 * time.Second
	// retryAfter is when the sweep reads a block again that it could not read, in
	// milliseconds.
	retryAfter = int64(time.Minute / time.Millisecond)
)

// Options is what a sweeper needs from its store.
type Options struct {
	// Hasher computes the fingerprints of keys.
	Hasher index.Hasher
	// Now is the clock that decides what has expired.
	Now func() time.Time
	// Manual says that a test takes the steps, so that there is no goroutine.
	Manual bool
	// Stop is closed to stop the goroutine.
	Stop <-chan struct{}
	// Background starts a goroutine that Close waits for.
	Background func(name string, fn func())
	// NewPacer makes the pacer of one sweep. The sweep calls done when it ends.
	NewPacer func(context.Context) (p *pace.Pacer, done func())
	// EndExpired ends the tail of the log if most of it has expired.
	EndExpired func() error
}

// Sweeper takes expired records out of the index. All methods may be called concurrently.
type Sweeper struct {
	Options
	catalog *catalog.Catalog
	// Due is when the next record expires at the earliest, in Unix milliseconds. It is exported
	// for tests.
	Due atomic.Int64
	// Started says that the goroutine runs. It is exported for tests.
	Started  atomic.Bool
	wake     chan struct{}             // holds one token when Due is no longer expiry.Never
	sweeping rank.Mutex[rank.Sweeping] // guards taking records out, and the setting of each File.Swept
}

// New makes a sweeper that knows of nothing that expires.
func New(c *catalog.Catalog, o Options) *Sweeper {
	s := &Sweeper{Options: o, catalog: c, wake: make(chan struct{}, 1)}
	s.Due.Store(expiry.Never)
	return s
}

// Expires notes that a record of f expires. at is in Unix milliseconds. offset is where the
// record lies, below size, which is the maximum length of the file. The caller calls it once the
// index points to the record.
func (s *Sweeper) Expires(f *catalog.File, offset, size, at int64) {
	if f.ExpiriesOf(size).Add(offset, at) {
		s.ExpiresAt(at)
	}
}

// ExpiresAt notes that something expires at a time in Unix milliseconds.
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

// Start starts the goroutine, if anything expires and the goroutine does not run yet. Only Open
// and writes call it: Close waits for both, so the goroutine never starts too late.
func (s *Sweeper) Start() {
	if s.Started.Load() || s.Manual || s.Due.Load() == expiry.Never {
		return
	}
	if s.Started.CompareAndSwap(false, true) {
		s.Background("expire", s.run)
	}
}

// wakeUp wakes the goroutine, which waits for Due.
func (s *Sweeper) wakeUp() {
	pace.Wake(s.wake)
}

// run is the goroutine that sweeps. Start starts it, and Close stops it by closing Stop.
func (s *Sweeper) run() {
	for {
		var timer <-chan time.Time
		if due := s.Due.Load(); due != expiry.Never {
			wait := time.UnixMilli(due).Sub(s.Now())
			timer = time.After(min(max(wait, minPause), maxPause))
		}
		select {
		case <-s.Stop:
			return
		case <-s.wake:
			continue
		case <-timer:
		}
		if _, err := s.Step(); err != nil && !errors.Is(err, failure.ErrClosed) {
			s.catalog.Message(slog.LevelWarn, "mmapkv: the tail could not be ended, although most of it has expired; it is tried again", "error", err)
		}
	}
}

// Step sweeps if anything is due, and then ends the tail if that has mostly expired. It reports
// whether anything was due.
func (s *Sweeper) Step() (did bool, err error) {
	did, err = s.SweepAll(context.Background())
	if did && err == nil {
		err = s.EndExpired()
	}
	return did, err
}

// SweepAll takes everything that has expired by now out of the index, and reports whether
// anything was due. If ctx ends, the rest stays due.
func (s *Sweeper) SweepAll(ctx context.Context) (did bool, err error) {
	now := s.Now().UnixMilli()
	if s.Due.Load() > now {
		return false, nil
	}
	if set := s.catalog.Set(); set != nil && set.Partial {
		return false, nil // without its youngest record, an older one of a key could come into the index
	}
	defer pace.Region("expire").End()
	pacer, done := s.NewPacer(ctx)
	defer done()
	sweep := sweep{sweeper: s, pacer: pacer, now: now}
	s.Due.Store(expiry.Never) // whatever is added from here on lowers it again
	set := s.catalog.Set()    // what was added earlier is in this set
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

// Record is a record that has expired.
type Record struct {
	// Fp is the fingerprint of its key.
	Fp index.Fingerprint
	// Location is where the index has it.
	Location index.Location
	// Size is its size in bytes.
	Size int64
	// KeySize is the size of its key in bytes.
	KeySize int
}

// Expire takes an expired record of f out of the index, unless the index has another record of
// the key, or none.
func (s *Sweeper) Expire(f *catalog.File, r *Record) {
	s.catalog.Hides.Store(true)
	if s.catalog.Files.Keys.CompareAndSwap(r.Fp, r.Location, index.NoLocation) {
		f.Kill(r.Location.Offset(), r.Size, r.KeySize)
		f.Expired.Add(r.Size)
	}
}

// Watch makes the sweep note, in File.Swept, what it takes out of the files, until stop is
// called.
func (s *Sweeper) Watch(files []*catalog.File) (stop func()) {
	set := func(newSwept func() *expiry.Swept) {
		s.sweeping.Lock() // waits for a record that is being taken out right now
		defer s.sweeping.Unlock()
		for _, f := range files {
			f.Swept.Store(newSwept())
		}
	}
	set(expiry.NewSwept)
	return func() { set(func() *expiry.Swept { return nil }) }
}
