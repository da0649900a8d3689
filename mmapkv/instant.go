package mmapkv

import (
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/conflict"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// instant is what a Scan, an Iterator or a Snapshot reads: the state after one commit, judged by the clock of
// then. Whoever has an instant may read the records of its state until they call end, whatever
// becomes of their files, and after Close too.
type instant struct {
	store *Store
	state *order.State
	now   int64 // Unix milliseconds: what had not expired then does not expire for its readers
	// judged is the latest time, in Unix milliseconds, by which expired records had been taken out of
	// the index. It lies after now only if the clock has been set back.
	judged int64
	// firstExpiry is where scans note when the first of what they read here expires, in Unix
	// milliseconds; nil if nobody asks.
	firstExpiry *int64
}

// judge returns the clock of those who take expired records out of the index. It notes the latest time.
func judge(s *Store) func() time.Time {
	judged := &s.catalog.Judged
	return func() time.Time {
		now := s.now()
		for upTo := now.UnixMilli(); ; {
			before := judged.Load()
			if before >= upTo || judged.CompareAndSwap(before, upTo) {
				return now
			}
		}
	}
}

// instant captures the present. It is the only place that decides which state a Scan, an Iterator or a
// Snapshot reads.
func (s *Store) instant() (instant, error) {
	rank.AssertNone("Scan, Iterator or Snapshot")
	if s.closed.Load() {
		return instant{}, ErrClosed
	}
	judged := s.catalog.Judged.Load() // before the clock, which is later unless it has been set back
	now := s.now().UnixMilli()
	state, err := s.order.Capture()
	if err != nil {
		s.sawDamage(err)
		return instant{}, err
	}
	return instant{store: s, state: state, now: now, judged: judged}, nil
}

// end releases the state.
func (m *instant) end() { m.state.Release() }

// hold is the instant of an Iterator or of a Snapshot. It ends when one of these or the Store is closed,
// or because of Options.SnapshotLimit, but not while a call uses it.
type hold struct {
	instant
	users atomic.Int64 // calls that use the instant, and one more until the hold has ended; at 0 the instant ends
	ended atomic.Int32 // an ending
	made  callers      // where a Snapshot was made; zero for an Iterator

	// The next two are a transaction's alone: what keeps the list of conflicts for it, and when the
	// first of what it has read here expires, in Unix milliseconds.
	mark     conflict.Mark
	earliest int64

	// holds.mu guards what follows.
	listed       bool
	older, newer *hold // its neighbours on the list
	told         bool  // it was reported as old
}

// ending says why a hold has ended.
type ending = int32

const (
	notEnded   ending = iota
	ownerEnded        // by Close of the Iterator or Snapshot, or because that was forgotten
	storeEnded        // by Store.Close
	limitEnded        // because of Options.SnapshotLimit
)

// newHold makes a hold of an instant, and lists it as open. If the store is closed, newHold ends the
// instant and returns ErrClosed.
func newHold(m instant, made callers) (*hold, error) {
	h := &hold{instant: m, made: made}
	return h, h.list()
}

// list lists the hold of a new instant as open, or ends the instant.
func (h *hold) list() error {
	h.users.Store(1)
	if !h.store.holds.add(h) {
		h.instant.end()
		return ErrClosed
	}
	return nil
}

// enter begins a use of the instant, which leave ends. It returns why there can be none. The count
// never rises from 0, so the instant ends only once.
func (h *hold) enter() error {
	for {
		users := h.users.Load()
		if users == 0 || h.ended.Load() != notEnded {
			return h.err()
		}
		if h.users.CompareAndSwap(users, users+1) {
			return nil
		}
	}
}

// leave ends a use.
func (h *hold) leave() {
	if h.users.Add(-1) == 0 {
		h.instant.end()
	}
}

// end ends the hold, and reports whether it had not ended before.
func (h *hold) end(why ending) bool {
	if !h.ended.CompareAndSwap(notEnded, why) {
		return false
	}
	h.leave()
	return true
}

// err returns why the hold has ended, nil if it has not.
func (h *hold) err() error {
	switch h.ended.Load() {
	case ownerEnded:
		return ErrDone
	case storeEnded:
		return ErrClosed
	case limitEnded:
		return ErrSnapshotTooOld
	}
	return nil
}

// holds are the holds of a store that have not ended, by age.
type holds struct {
	mu             rank.Mutex[rank.Holds] // guards the rest, and the list's links; a leaf
	oldest, newest *hold
	closed         bool
}

// add lists a hold, unless the store is closed.
func (a *holds) add(h *hold) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	h.listed, h.older = true, a.newest
	if a.newest == nil {
		a.oldest = h
	} else {
		a.newest.newer = h
	}
	a.newest = h
	return true
}

// remove takes a hold off the list, if it is there.
func (a *holds) remove(h *hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !h.listed {
		return
	}
	if h.older == nil {
		a.oldest = h.newer
	} else {
		h.older.newer = h.newer
	}
	if h.newer == nil {
		a.newest = h.older
	} else {
		h.newer.older = h.older
	}
	h.listed, h.older, h.newer = false, nil, nil
}

// any reports whether there is a hold.
func (a *holds) any() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.oldest != nil
}

// endAll ends all holds, since the store is closed. It does not wait for their users.
func (a *holds) endAll() {
	a.mu.Lock()
	var open []*hold
	for h := a.oldest; h != nil; {
		open = append(open, h)
		next := h.newer
		h.listed, h.older, h.newer = false, nil, nil
		h = next
	}
	a.oldest, a.newest, a.closed = nil, nil, true
	a.mu.Unlock()
	for _, h := range open {
		h.end(storeEnded)
	}
}
