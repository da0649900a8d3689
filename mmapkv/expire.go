package mmapkv

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
)

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

const (
	// sweepPause is how long the background waits from one sweep to the next at least,
	// and sweepLook at most while anything expires: the clock may have been set forward.
	sweepPause = time.Second
	sweepLook  = 5 * time.Second
	// sweepAgain is when a block is looked at again that could not be read, in
	// milliseconds.
	sweepAgain = int64(time.Minute / time.Millisecond)
)

// sweeper is when there is something to sweep.
type sweeper struct {
	due      atomic.Int64              // nothing expires before, in Unix milliseconds
	started  atomic.Bool               // there is a goroutine
	wake     chan struct{}             // holds one token when due is not never any more
	sweeping rank.Mutex[rank.Sweeping] // held while records are taken out; guards every file's swept
}

// expires notes that a record of a file, at an offset below size, expires, once the
// index points to it.
func (s *Store) expires(f *catalog.File, offset, size, at int64) {
	if f.ExpiriesOf(size).Add(offset, at) {
		s.expiresAt(at)
	}
}

// expiresAt notes that something expires.
func (s *Store) expiresAt(at int64) {
	for {
		old := s.sweeper.due.Load()
		if old <= at {
			return
		}
		if s.sweeper.due.CompareAndSwap(old, at) {
			if old == expiry.Never {
				s.wakeExpire()
			}
			return
		}
	}
}

// startExpire starts the goroutine that sweeps, if there is anything that expires
// and none yet. A write calls it, or Open: Close waits for either.
func (s *Store) startExpire() {
	if s.sweeper.started.Load() || s.manual() || s.sweeper.due.Load() == expiry.Never {
		return
	}
	if s.sweeper.started.CompareAndSwap(false, true) {
		s.background("expire", s.expire)
	}
}

func (s *Store) wakeExpire() {
	wake(s.sweeper.wake)
}

// expire is the goroutine that sweeps. startExpire starts it, Close stops it by
// closing s.stop.
func (s *Store) expire() {
	for {
		var timer <-chan time.Time
		if due := s.sweeper.due.Load(); due != expiry.Never {
			wait := time.UnixMilli(due).Sub(s.now())
			timer = time.After(min(max(wait, sweepPause), sweepLook))
		}
		select {
		case <-s.stop:
			return
		case <-s.sweeper.wake:
			continue
		case <-timer:
		}
		if _, err := s.stepExpire(); err != nil && !errors.Is(err, ErrClosed) {
			s.events.message(slog.LevelWarn, "mmapkv: the tail could not be ended, of which most has expired; it is tried again", "error", err)
		}
	}
}

// stepExpire sweeps, if something is due, and then ends a tail that has mostly
// expired.
func (s *Store) stepExpire() (did bool, err error) {
	did, err = s.sweepExpired(context.Background())
	if did && err == nil {
		err = s.endExpiredTail()
	}
	return did, err
}

// sweepExpired takes all that has expired by now out of the index, and says whether
// anything was due.
func (s *Store) sweepExpired(ctx context.Context) (did bool, err error) {
	now := s.now().UnixMilli()
	if s.sweeper.due.Load() > now {
		return false, nil
	}
	defer region("expire").End()
	pacer, done := s.newQuietPacer(ctx, 0)
	defer done()
	sweep := sweep{store: s, pacer: pacer, now: now}
	s.sweeper.due.Store(expiry.Never) // whatever is added from here on lowers it anew
	l := s.catalog.Set()              // and what was added before is in this set
	if l == nil {
		return false, ErrClosed
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
	s.expiresAt(next)
	return true, err
}

// endExpiredTail ends the tail and seals it, if most of it has expired: only then can
// compaction give its room back.
func (s *Store) endExpiredTail() error {
	if s.options.ReadOnly || s.options.Compaction.Disabled || s.latch.Err() != nil {
		return nil
	}
	var due bool
	s.asLeader(func() { due = s.tailHasExpired() })
	if !due {
		return nil
	}
	return s.sealTail(context.Background(), s.tailHasExpired)
}

// tailHasExpired says whether at least half of the tail has expired, and as much as is
// worth a file. It is called by the leader.
func (s *Store) tailHasExpired() bool {
	f := s.tail.file
	if f == nil {
		return false
	}
	records := f.RecordBytes()
	expired := min(f.Expired.Load(), records-f.LiveBytes.Load())
	return expired >= records-expired && expired > s.options.SegmentSize/little
}
