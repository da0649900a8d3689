package fsync

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Syncer knows what is written and what is durable, syncs the rest as the policy
// says, and keeps the first failure for ever.
//
// What must hold: Durable never exceeds what a successful sync has reported. Only
// one call of the sync function runs at a time, and none after it has failed. Under
// Every(d), while Run runs, a sync starts no later than d after the oldest write
// that is not durable yet.
//
// Any number of goroutines may call all methods at once. The sync function may call
// the methods that do not sync.
type Syncer struct {
	policy Policy
	sync   func() (upTo uint64, err error)
	now    func() time.Time
	origin time.Time     // moments are counted from here
	wake   chan struct{} // holds a token when there is a new oldest write

	failure atomic.Pointer[failure] // set once

	// syncing holds a token while the sync function runs; taken before mu. It is
	// no mutex, because testing/synctest counts goroutines that wait for one as busy.
	syncing chan struct{}

	mu       rank.Mutex[rank.Syncer] // guards what follows; the atomics are read without it
	written  uint64
	durable  atomic.Uint64
	oldest   atomic.Int64 // a moment: no write that is not durable is older; nothingUnsynced under Always and Never
	lastSync time.Time
	lastTook time.Duration
}

type failure struct{ err error }

// moment is a time as nanoseconds after Syncer.origin.
type moment = int64

// nothingUnsynced stands for no moment.
const nothingUnsynced moment = -1 << 63

// lateness is how far beyond two intervals syncs may fall behind before writers
// wait.
const lateness = time.Second

// errPanicked: a sync that panicked may have made nothing durable.
var errPanicked = errors.New("fsync: the sync panicked")

// NewSyncer makes a Syncer. The sync function makes everything durable that was
// written before the call, and returns the last sequence number of that. now is the
// clock.
func NewSyncer(p Policy, sync func() (upTo uint64, err error), now func() time.Time) *Syncer {
	s := &Syncer{
		policy: p, sync: sync, now: now, origin: now(),
		wake: make(chan struct{}, 1), syncing: make(chan struct{}, 1),
	}
	s.oldest.Store(nothingUnsynced)
	return s
}

// Written notes that everything up to seq is written. The caller acknowledges the
// write only afterwards.
func (s *Syncer) Written(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = max(s.written, seq)
	if s.oldest.Load() != nothingUnsynced || s.written <= s.durable.Load() || s.policy.Interval() == 0 {
		return
	}
	s.oldest.Store(s.moment())
	select {
	case s.wake <- struct{}{}:
	default: // a token is there already
	}
}

// MarkDurable notes that everything up to seq is durable without a sync of this
// Syncer. Open, recovery, and a leader under Always call it; Open trusts the manifest.
func (s *Syncer) MarkDurable(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.markDurableLocked(seq)
}

func (s *Syncer) markDurableLocked(seq uint64) {
	if seq > s.durable.Load() {
		s.durable.Store(seq)
	}
	if s.written <= s.durable.Load() {
		s.oldest.Store(nothingUnsynced)
	}
}

// Durable is the highest sequence number up to which everything is durable.
func (s *Syncer) Durable() uint64 { return s.durable.Load() }

// SyncTo returns nil once everything up to seq is durable, or else the failure that
// prevents it. seq must be written. Concurrent callers share a sync.
func (s *Syncer) SyncTo(seq uint64) error {
	durable := func() bool { return s.durable.Load() >= seq }
	if durable() {
		return nil
	}
	if _, err := s.syncUnless(durable); err != nil {
		return err
	}
	if !durable() {
		return fmt.Errorf("fsync: asked to sync up to %d, which is not written: the log ends at %d", seq, s.durable.Load())
	}
	return nil
}

// Throttle is called before a write; the caller holds no lock that a sync needs. It
// returns the failure, if there is one. Otherwise it waits while syncs are late: while
// the oldest write that is not durable is older than two intervals and a second. It
// waits by syncing, or for the sync that is already running. waited is how long it
// waited.
func (s *Syncer) Throttle() (waited time.Duration, err error) {
	if err := s.Err(); err != nil {
		return 0, err
	}
	if !s.late() {
		return 0, nil
	}
	began := s.now()
	_, err = s.syncUnless(func() bool { return !s.late() })
	return s.now().Sub(began), err
}

// Step syncs the log if a sync is due under Every, and tells whether it did. Under
// Always and Never it does nothing.
func (s *Syncer) Step() (did bool, err error) {
	if s.policy.Interval() == 0 {
		return false, nil
	}
	if err := s.Err(); err != nil {
		return false, err
	}
	if !s.due() {
		return false, nil
	}
	return s.syncUnless(func() bool { return !s.due() })
}

// Run takes a Step whenever one is due, until stop is closed or a sync fails.
// Under Always and Never it returns at once.
func (s *Syncer) Run(stop <-chan struct{}) {
	if s.policy.Interval() == 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var due <-chan time.Time // nil, so never ready, if nothing is unsynced
		if wait, unsynced := s.untilDue(); unsynced {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-stop:
			return
		case <-s.wake:
		case <-due:
			if _, err := s.Step(); err != nil {
				return // for good: Err has the failure
			}
		}
	}
}

// Fail stops all syncing and throttled writing for good. Only the first failure
// counts.
func (s *Syncer) Fail(err error) {
	s.failure.CompareAndSwap(nil, &failure{err})
}

// Err is the first failure, nil when there is none.
func (s *Syncer) Err() error {
	if f := s.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// LastSync is when the last successful sync ended and how long it took; both are
// zero when there was none.
func (s *Syncer) LastSync() (at time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastSync, s.lastTook
}

// syncUnless waits for the sync that is running, if any. Then it runs one itself,
// unless that is superfluous by now.
func (s *Syncer) syncUnless(superfluous func() bool) (did bool, err error) {
	rank.Acquire[rank.Syncing]()
	s.syncing <- struct{}{}
	defer s.stopSyncing()
	if superfluous() {
		return false, nil
	}
	if err := s.Err(); err != nil {
		return false, err
	}
	began, beganAt := s.now(), s.moment()
	upTo, err := s.callSync()
	if err != nil {
		s.Fail(err)
		return true, s.Err()
	}
	ended := s.now()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSync, s.lastTook = ended, ended.Sub(began)
	// The writes that this sync did not cover came after it had begun.
	if s.oldest.Load() != nothingUnsynced {
		s.oldest.Store(beganAt)
	}
	s.markDurableLocked(upTo)
	return true, nil
}

// stopSyncing gives back the token.
func (s *Syncer) stopSyncing() {
	<-s.syncing
	rank.Release[rank.Syncing]()
}

// callSync calls the sync function. A panic in it counts as a failure.
func (s *Syncer) callSync() (upTo uint64, err error) {
	returned := false
	defer func() {
		if !returned {
			s.Fail(errPanicked)
		}
	}()
	upTo, err = s.sync()
	returned = true
	return upTo, err
}

// late tells whether writers have to wait.
func (s *Syncer) late() bool {
	oldest := s.oldest.Load()
	if oldest == nothingUnsynced {
		return false
	}
	// The age is halved, since twice an interval may overflow a Duration.
	return (time.Duration(s.moment()-oldest)-lateness)/2 > s.policy.Interval()
}

// due tells whether Step has something to do.
func (s *Syncer) due() bool {
	wait, unsynced := s.untilDue()
	return unsynced && wait <= 0
}

// untilDue is how long the next sync can wait, if there is something to sync.
func (s *Syncer) untilDue() (wait time.Duration, unsynced bool) {
	oldest := s.oldest.Load()
	if oldest == nothingUnsynced {
		return 0, false
	}
	age := time.Duration(s.moment() - oldest)
	if age < 0 {
		return 0, true // the clock went back, so the age is unknown
	}
	return s.policy.Interval() - margin(s.policy.Interval()) - age, true
}

// margin is how long before the end of its interval a sync starts, so that a late
// timer does not break the promise.
func margin(interval time.Duration) time.Duration {
	return min(interval/8, 25*time.Millisecond)
}

// moment is the present.
func (s *Syncer) moment() moment { return moment(s.now().Sub(s.origin)) }
