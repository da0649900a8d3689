package workload

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// passes is how often a scan of everything is measured in a round.
const passes = 3

func (s *session) scanPairs() error   { return s.scanAll("scan", Span{}) }
func (s *session) scanKeys() error    { return s.scanAll("scan-keys", Span{KeysOnly: true}) }
func (s *session) scanReverse() error { return s.scanAll("scan-reverse", Span{Reverse: true}) }

// scanAll scans everything, once without counting: a store may prepare for scans after
// the first.
func (s *session) scanAll(name string, span Span) error {
	store, ok := s.store.(Ordered)
	if !ok {
		return nil
	}
	return s.report(task{name: name, goroutines: 1, operations: passes, warm: true, prepare: func(int) func() (int, error) {
		f := s.newFollower(store, span)
		return func() (int, error) { return s.everything(f, func() error { return store.Scan(span, f.visit) }) }
	}})
}

// everything checks that a scan visits every key.
func (s *session) everything(f *follower, scan func() error) (int, error) {
	f.begin()
	if err := scan(); err != nil {
		return f.pairs, err
	}
	if f.pairs != s.Keys+s.inserted {
		return f.pairs, fmt.Errorf("workload: scanned %d keys, not %d", f.pairs, s.Keys+s.inserted)
	}
	return f.pairs, nil
}

// iterate steps over all pairs with a cursor.
func (s *session) iterate() error {
	return s.withCursors(func(cursor func() Cursor) error {
		return s.report(task{name: "iterate", goroutines: 1, operations: passes, warm: true, prepare: func(int) func() (int, error) {
			c, f := cursor(), s.newFollower(nil, Span{})
			return func() (int, error) {
				return s.everything(f, func() error { return c.Seek(nil, s.Keys+s.inserted+1, f.visit) })
			}
		}})
	})
}

// withCursors calls fn with a function that makes cursors, and closes them afterwards.
// A cursor that could not be made returns its error when it is used. It does nothing if
// the store has no cursors.
func (s *session) withCursors(fn func(cursor func() Cursor) error) (err error) {
	store, ok := s.store.(Ordered)
	if !ok {
		return nil
	}
	var cursors []Cursor
	defer func() {
		for _, c := range cursors {
			err = errors.Join(err, c.Close())
		}
	}()
	return fn(func() Cursor {
		c, err := store.Cursor()
		if err != nil {
			return failed{err}
		}
		cursors = append(cursors, c)
		return c
	})
}

// failed is a cursor that could not be made.
type failed struct{ err error }

func (f failed) Seek([]byte, int, func(key, value []byte) error) error { return f.err }
func (f failed) Close() error                                          { return nil }

// spans are how many pairs are read after a seek.
var spans = []int{1, 10, 50}

// seek reads some pairs from a random key on, each time with a new scan.
func (s *session) seek() error {
	store, ok := s.store.(Ordered)
	if !ok {
		return nil
	}
	return s.seeks("seek", func() *follower { return s.newFollower(store, Span{}) }, func(f *follower) seeking { return f.scanFrom })
}

// seekOpen does the same with one cursor.
func (s *session) seekOpen() error {
	return s.withCursors(func(cursor func() Cursor) error {
		return s.seeks("seek-open", func() *follower { return s.newFollower(nil, Span{}) }, func(*follower) seeking { return cursor().Seek })
	})
}

// seeking calls fn with n pairs from a key on.
type seeking = func(key []byte, n int, fn func(key, value []byte) error) error

func (s *session) seeks(name string, follower func() *follower, seeking func(*follower) seeking) error {
	for _, n := range spans {
		for _, goroutines := range s.Goroutines {
			err := s.report(task{name: fmt.Sprintf("%s/%d", name, n), goroutines: goroutines, warm: true, prepare: func(g int) func() (int, error) {
				f, choose := follower(), s.uniform(g)
				seek := seeking(f)
				return func() (int, error) {
					pairs, err := f.seek(choose(), n, seek)
					if err == nil && pairs < n {
						err = s.mustEnd(f, seek)
					}
					return 1, err
				}
			}})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// mustEnd checks that the last pair of a short scan is the last of all.
func (s *session) mustEnd(f *follower, seek seeking) error {
	last := f.last
	pairs, err := f.seek(last, 2, seek)
	if err == nil && pairs != 1 {
		err = fmt.Errorf("workload: a scan ended after key %d, which is not the last", last)
	}
	return err
}

// longestScan is how many pairs a scan of YCSB E reads at most.
const longestScan = 100

// ycsbE scans from popular keys on, and inserts.
func (s *session) ycsbE() error {
	store, ok := s.store.(Ordered)
	if !ok {
		return nil
	}
	for _, goroutines := range s.Goroutines {
		var inserted atomic.Int64
		err := s.report(task{name: "ycsb-e", goroutines: goroutines, timed: true, warm: true, prepare: func(g int) func() (int, error) {
			f, w, choose := s.newFollower(store, Span{}), s.newWriter(nil), s.scrambled(g)
			random := rand.New(rand.NewPCG(s.Seed, uint64(g)))
			return one(func() error {
				if random.IntN(100) < 95 {
					_, err := f.seek(choose(), 1+random.IntN(longestScan), f.scanFrom)
					return err
				}
				return w.insert(s.Keys + s.inserted + int(inserted.Add(1)) - 1)
			})
		}})
		s.inserted += int(inserted.Load())
		if err != nil {
			return err
		}
	}
	return nil
}

// scanBeside scans everything, over and over: alone, beside a writer, and beside a
// writer and compaction.
func (s *session) scanBeside() error {
	if _, ok := s.store.(Ordered); !ok {
		return nil
	}
	return s.inPhases("scan-beside", func() (r Result, err error) {
		store := s.store.(Ordered) // which was opened for these phases
		f := s.newFollower(store, Span{})
		began, processor := time.Now(), rig.ProcessorTime()
		for r.Operations == 0 || time.Since(began) < s.Phase {
			pairs, err := s.everything(f, func() error { return store.Scan(Span{}, f.visit) })
			if err = firstOf(err, s.ctx.Err()); err != nil {
				return r, err
			}
			r.Operations += pairs
		}
		r.Goroutines, r.Took, r.Processor = 1, time.Since(began), rig.ProcessorTime()-processor
		return r, nil
	})
}

// scanCompacted scans everything after a compaction, which may have put the records in
// order.
func (s *session) scanCompacted() error {
	store, ok := s.store.(Compactor)
	if !ok {
		return nil
	}
	if err := store.Compact(s.ctx); err != nil {
		return err
	}
	return s.scanAll("scan-compacted", Span{})
}
