package fsync

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is something to sync: the numbers up to written. Those up to safe would
// survive a power failure.
type log struct {
	written, safe atomic.Uint64
	syncs         int // no lock: syncs run one at a time
	err           error
	during        func()
}

func (l *log) sync() (uint64, error) {
	l.syncs++
	upTo := l.written.Load()
	if l.during != nil {
		l.during()
	}
	if l.err != nil {
		return 0, l.err
	}
	l.safe.Store(upTo)
	return upTo, nil
}

// bench is a Syncer with its log and its clock.
type bench struct {
	*Syncer
	log
	clock time.Time
}

func newBench(p Policy) *bench {
	b := &bench{clock: time.Unix(1_000_000, 0)}
	b.Syncer = NewSyncer(p, b.log.sync, func() time.Time { return b.clock })
	return b
}

func (b *bench) write() (seq uint64) {
	seq = b.log.written.Add(1)
	b.Written(seq)
	return seq
}

// step takes a step and checks whether that synced.
func (b *bench) step(t *testing.T, want bool) {
	t.Helper()
	before := b.syncs
	did, err := b.Step()
	if did != want || err != nil || b.syncs-before != map[bool]int{true: 1}[want] {
		t.Errorf("Step() = %v, %v after %d syncs, want %v", did, err, b.syncs-before, want)
	}
}

func TestStepSyncsWhenTheOldestWriteIsOldEnough(t *testing.T) {
	const d = 80 * time.Millisecond
	b := newBench(Every(d))
	b.step(t, false)
	b.clock = b.clock.Add(time.Hour)
	b.step(t, false)

	b.write()
	b.step(t, false)
	b.clock = b.clock.Add(d / 2)
	b.write()
	b.step(t, false)
	b.clock = b.clock.Add(d / 2)
	b.step(t, true)
	if got := b.Durable(); got != 2 {
		t.Errorf("durable up to %d, want 2", got)
	}
	b.clock = b.clock.Add(time.Hour)
	b.step(t, false)
}

func TestWriteDuringASyncIsAsOldAsTheSync(t *testing.T) {
	const d = 80 * time.Millisecond
	b := newBench(Every(d))
	b.write()
	b.clock = b.clock.Add(d)
	b.during = func() {
		b.write()
		b.clock = b.clock.Add(d / 2)
	}
	b.step(t, true)
	b.during = nil
	if at, took := b.LastSync(); at != b.clock || took != d/2 {
		t.Errorf("the last sync ended at %v after %v", at, took)
	}
	if got := b.Durable(); got != 1 {
		t.Errorf("durable up to %d, want 1", got)
	}
	b.step(t, false)
	b.clock = b.clock.Add(d / 2)
	b.step(t, true)
	if got := b.Durable(); got != 2 {
		t.Errorf("durable up to %d, want 2", got)
	}
}

func TestWhatIsDurableNeedsNoSync(t *testing.T) {
	b := newBench(Every(time.Second))
	b.write()
	seq := b.write()
	b.MarkDurable(seq)
	b.MarkDurable(1) // it never goes back
	if got := b.Durable(); got != seq {
		t.Errorf("durable up to %d, want %d", got, seq)
	}
	if err := b.SyncTo(seq); err != nil {
		t.Error(err)
	}
	b.clock = b.clock.Add(time.Hour)
	b.step(t, false)
	b.write()
	b.step(t, false) // its age counts from now
	b.clock = b.clock.Add(time.Second)
	b.step(t, true)
	b.Written(1) // an old sequence number
	b.clock = b.clock.Add(time.Hour)
	b.step(t, false)
}

func TestSyncToUnderEveryPolicy(t *testing.T) {
	for _, p := range []Policy{{}, Always, Never} {
		b := newBench(p)
		seq := b.write()
		if err := b.SyncTo(seq); err != nil || b.Durable() != seq || b.syncs != 1 {
			t.Errorf("%v: SyncTo: %v, durable up to %d after %d syncs", p, err, b.Durable(), b.syncs)
		}
		if err := b.SyncTo(seq); err != nil || b.syncs != 1 {
			t.Errorf("%v: SyncTo once more: %v, %d syncs", p, err, b.syncs)
		}
		if err := b.SyncTo(seq + 1); err == nil || b.Err() != nil {
			t.Errorf("%v: SyncTo what is not written: %v, and the failure is %v", p, err, b.Err())
		}
	}
}

func TestAlwaysAndNeverHaveNoSteps(t *testing.T) {
	for _, p := range []Policy{Always, Never} {
		b := newBench(p)
		b.write()
		b.clock = b.clock.Add(time.Hour)
		b.step(t, false)
		if waited, err := b.Throttle(); waited != 0 || err != nil {
			t.Errorf("%v: Throttle() = %v, %v", p, waited, err)
		}
		b.Run(nil)
	}
}

func TestFirstFailureIsFinal(t *testing.T) {
	first := errors.New("EIO")
	calls := map[string]func(b *bench) error{
		"SyncTo":   func(b *bench) error { return b.SyncTo(2) },
		"Step":     func(b *bench) error { _, err := b.Step(); return err },
		"Throttle": func(b *bench) error { _, err := b.Throttle(); return err },
		"Run":      func(b *bench) error { b.Run(nil); return b.Err() },
	}
	for name, failing := range calls {
		t.Run(name, func(t *testing.T) {
			b := newBench(Every(time.Second))
			b.write()
			if err := b.SyncTo(1); err != nil {
				t.Fatal(err)
			}
			b.write()
			b.clock = b.clock.Add(time.Hour)
			b.err = first
			if err := failing(b); err != first {
				t.Errorf("failed with %v", err)
			}
			b.err = nil // the kernel's lie
			b.Fail(errors.New("a later one"))
			for name, call := range calls {
				if err := call(b); err != first {
					t.Errorf("%s after the failure: %v", name, err)
				}
			}
			if b.syncs != 2 || b.Err() != first || b.Durable() != 1 {
				t.Errorf("%d syncs, failure %v, durable up to %d", b.syncs, b.Err(), b.Durable())
			}
			if err := b.SyncTo(1); err != nil {
				t.Errorf("what was durable before is not any more: %v", err)
			}
		})
	}
}

func TestFailureFromElsewhereStopsSyncing(t *testing.T) {
	b := newBench(Every(time.Second))
	seq := b.write()
	cause := errors.New("a write failed")
	b.Fail(cause)
	if err := b.SyncTo(seq); err != cause || b.syncs != 0 {
		t.Errorf("SyncTo: %v, %d syncs", err, b.syncs)
	}
}

func TestPanickingSyncIsAFailure(t *testing.T) {
	b := newBench(Every(time.Second))
	seq := b.write()
	b.during = func() { panic("sync") }
	if r := recovered(func() { b.SyncTo(seq) }); r != "sync" {
		t.Errorf("SyncTo panicked with %v", r)
	}
	if err := b.SyncTo(seq); err != errPanicked || b.syncs != 1 {
		t.Errorf("SyncTo: %v, %d syncs", err, b.syncs)
	}
}

func TestThrottleWaitsWhenSyncsAreLate(t *testing.T) {
	const d = 200 * time.Millisecond
	b := newBench(Every(d))
	throttle := func(want time.Duration) {
		t.Helper()
		if waited, err := b.Throttle(); waited != want || err != nil {
			t.Errorf("Throttle() = %v, %v, want %v", waited, err, want)
		}
	}
	throttle(0)
	b.write()
	b.clock = b.clock.Add(2*d + lateness)
	throttle(0)
	b.clock = b.clock.Add(2)
	b.during = func() { b.clock = b.clock.Add(3 * time.Second) }
	throttle(3 * time.Second)
	if b.Durable() != 1 {
		t.Error("the wait was over before the write was durable")
	}
	throttle(0)
}

func TestThrottleHasNoOverflow(t *testing.T) {
	b := newBench(Every(1<<63 - 1))
	b.write()
	b.clock = b.clock.Add(time.Hour)
	if waited, err := b.Throttle(); waited != 0 || err != nil || b.syncs != 0 {
		t.Errorf("Throttle() = %v, %v", waited, err)
	}
}

func TestThrottleWaitsForTheRunningSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		l.during = func() { time.Sleep(10 * time.Second) }
		s := NewSyncer(Policy{}, l.sync, time.Now)
		l.written.Store(1)
		s.Written(1)
		time.Sleep(DefaultInterval)
		began := time.Now()
		go s.Step()
		synctest.Wait()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				before := time.Now()
				waited, err := s.Throttle()
				if waited != time.Since(before) || err != nil {
					t.Errorf("Throttle() = %v, %v", waited, err)
				}
				passed, late := time.Since(began), before.Sub(began)+DefaultInterval > 2*DefaultInterval+lateness
				if late != (passed == 10*time.Second) {
					t.Errorf("the writer that came after %v went on after %v", before.Sub(began), passed)
				}
			})
		}
		all.Wait()
		if l.syncs != 1 {
			t.Errorf("%d syncs", l.syncs)
		}
	})
}

func TestConcurrentCallersShareASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		l.during = func() { time.Sleep(time.Second) }
		s := NewSyncer(Never, l.sync, time.Now)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				seq := l.written.Add(1)
				s.Written(seq)
				if err := s.SyncTo(seq); err != nil || l.safe.Load() < seq {
					t.Errorf("SyncTo(%d): %v, safe up to %d", seq, err, l.safe.Load())
				}
			})
		}
		all.Wait()
		if l.syncs > 2 {
			t.Errorf("%d syncs for 100 callers", l.syncs)
		}
	})
}

// A power failure at any moment loses at most the writes acknowledged in the last d,
// or since the running sync began, or the one before it if that took longer.
func TestRunKeepsThePromise(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 50 * time.Millisecond, DefaultInterval, 10 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRunKeepsThePromise(t, d) })
		})
	}
}

func testRunKeepsThePromise(t *testing.T, d time.Duration) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	var mu sync.Mutex // guards what follows
	var written, safe uint64
	acknowledged := map[uint64]time.Time{} // of the writes that are not safe yet
	lastEnd := time.Now()

	s := NewSyncer(Every(d), func() (uint64, error) {
		mu.Lock()
		began, upTo := time.Now(), written
		if upTo == safe {
			t.Errorf("a sync with nothing to sync")
		}
		for seq, at := range acknowledged {
			if began.Sub(at) > d && began.Sub(lastEnd) > 0 {
				t.Errorf("write %d waited %v for a sync to start", seq, began.Sub(at))
			}
		}
		took := time.Duration(random.Int64N(int64(d)))
		if random.IntN(10) == 0 {
			took *= 3
		}
		mu.Unlock()
		time.Sleep(took)
		mu.Lock()
		defer mu.Unlock()
		for seq := range acknowledged {
			if seq <= upTo {
				delete(acknowledged, seq)
			}
		}
		safe, lastEnd = upTo, time.Now()
		return upTo, nil
	}, time.Now)

	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { s.Run(stop) })
	for range 500 {
		mu.Lock()
		pause := time.Duration(random.Int64N(int64(d) / 4))
		if random.IntN(20) == 0 {
			pause *= 40
		}
		mu.Unlock()
		time.Sleep(pause)
		mu.Lock()
		written++
		seq := written
		mu.Unlock()
		s.Written(seq)
		mu.Lock()
		acknowledged[seq] = time.Now()
		mu.Unlock()
	}
	time.Sleep(10 * d)
	synctest.Wait()
	if got := s.Durable(); got != written {
		t.Errorf("durable up to %d of %d", got, written)
	}
	close(stop)
	running.Wait()
}

func TestRunStopsWithSomethingUnsynced(t *testing.T) {
	b := newBench(Every(time.Hour))
	b.write()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { b.Run(stop); close(done) }()
	close(stop)
	<-done
	if b.syncs != 0 {
		t.Error("it was not time yet")
	}
}

func TestStepSyncsWhenTheClockGoesBack(t *testing.T) {
	b := newBench(Every(time.Hour))
	b.write()
	b.clock = b.clock.Add(-time.Minute)
	if waited, err := b.Throttle(); waited != 0 || err != nil {
		t.Errorf("Throttle() = %v, %v", waited, err)
	}
	b.step(t, true)
	b.step(t, false)
}

func TestSyncerUnderStress(t *testing.T) {
	for _, p := range []Policy{Every(50 * time.Microsecond), Always} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			const writers, each = 8, 2000
			var l log
			var inside atomic.Int32
			l.during = func() {
				if inside.Add(1) != 1 {
					t.Error("two syncs at a time")
				}
				inside.Add(-1)
			}
			s := NewSyncer(p, l.sync, time.Now)
			stop := make(chan struct{})
			var running, all sync.WaitGroup
			running.Go(func() { s.Run(stop) })
			var log sync.Mutex // notes writes in order, as a leader does
			for range writers {
				all.Go(func() {
					for n := range each {
						if _, err := s.Throttle(); err != nil {
							t.Error(err)
						}
						log.Lock()
						seq := l.written.Add(1)
						s.Written(seq)
						log.Unlock()
						if n%16 == 0 {
							if err := s.SyncTo(seq); err != nil || s.Durable() < seq {
								t.Errorf("SyncTo(%d): %v, durable up to %d", seq, err, s.Durable())
							}
						}
						if durable, safe := s.Durable(), l.safe.Load(); durable > safe {
							t.Errorf("%d is said to be durable when %d is", durable, safe)
						}
						s.LastSync()
					}
				})
			}
			all.Wait()
			if err := s.SyncTo(writers * each); err != nil {
				t.Error(err)
			}
			close(stop)
			running.Wait()
			if s.oldest.Load() != nothingUnsynced {
				t.Error("everything is durable, and something unsynced")
			}
		})
	}
}
