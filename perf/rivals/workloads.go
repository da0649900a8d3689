package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// work is an operation to repeat.
type work struct {
	name       string
	goroutines int
	// once does it and returns how many operations that was.
	once func(store workload.Store, s *source) (operations int, err error)
}

const (
	loadBatch  = 1000    // pairs
	writeBatch = 100     // pairs
	readBatch  = 64      // keys
	absent     = 1 << 31 // above the number of every present key
)

// writing overwrites random keys; reading runs after settle.
var writing = []work{
	{"put one by one", 1, putOne(uniform)},
	{"put, batches of 100", 1, putMany},
	{"YCSB A: half updates, 2 goroutines", 2, ycsb(50)},
	{"YCSB B: 5% updates, 2 goroutines", 2, ycsb(5)},
}

var reading = []work{
	{"read without copy", 1, view(uniform)},
	{"read without copy, 2 goroutines", 2, view(uniform)},
	{"read a copy", 1, readCopy},
	{"read 64 keys in one call", 1, viewMany},
	{"read an absent key", 1, readAbsent},
	{"YCSB C: reads only, 2 goroutines", 2, ycsb(0)},
}

var durable = []work{
	{"durable put, 1 goroutine", 1, putOne(uniform)},
	{"durable put, 4 goroutines", 4, putOne(uniform)},
	{"durable put, 16 goroutines", 16, putOne(uniform)},
	{"durable put, 64 goroutines", 64, putOne(uniform)},
}

func uniform(s *source) int { return s.uniform() }
func popular(s *source) int { return s.popular() }

func putOne(number func(*source) int) func(workload.Store, *source) (int, error) {
	return func(store workload.Store, s *source) (int, error) {
		return 1, store.Put(s.pair(number(s)))
	}
}

func putMany(store workload.Store, s *source) (int, error) {
	return writeBatch, store.Write(s.pairs(writeBatch, s.uniform))
}

func view(number func(*source) int) func(workload.Store, *source) (int, error) {
	return func(store workload.Store, s *source) (int, error) {
		s.reading = number(s)
		s.key = appendKey(s.key[:0], s.reading)
		return 1, of(s.reading, store.View(s.key, s.check))
	}
}

func readCopy(store workload.Store, s *source) (int, error) {
	i := s.uniform()
	s.key = appendKey(s.key[:0], i)
	value, err := store.Get(s.copied[:0], s.key)
	s.copied = value
	if err != nil {
		return 1, of(i, err)
	}
	return 1, s.checkValue(i, value)
}

func viewMany(store workload.Store, s *source) (int, error) {
	return readBatch, getMany(store, s.someKeys(readBatch), s.checkOneOfMany)
}

func readAbsent(store workload.Store, s *source) (int, error) {
	i := absent + s.uniform()
	s.key = appendKey(s.key[:0], i)
	err := store.View(s.key, s.check)
	switch {
	case err == nil:
		return 1, fmt.Errorf("key %d was never put but is found", i)
	case errors.Is(err, workload.ErrNotFound):
		return 1, nil
	}
	return 1, err
}

// of adds the key to an error.
func of(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("key %d: %w", i, err)
}

// ycsb reads popular keys; updates of a hundred operations are updates.
func ycsb(updates int) func(workload.Store, *source) (int, error) {
	read, update := view(popular), putOne(popular)
	return func(store workload.Store, s *source) (int, error) {
		if s.random.IntN(100) < updates {
			return update(store, s)
		}
		return read(store, s)
	}
}

// run repeats the work for a while and returns the nanoseconds that an operation took:
// the elapsed time divided by the operations of all goroutines.
func (w work) run(store workload.Store, d *data, seed uint64, duration time.Duration) (float64, error) {
	counts, errs := make([]int, w.goroutines), make([]error, w.goroutines)
	var group sync.WaitGroup
	began := time.Now()
	for g := range w.goroutines {
		group.Go(func() { counts[g], errs[g] = w.repeat(store, d.newSource(seed, uint64(g)), began.Add(duration)) })
	}
	group.Wait()
	took := time.Since(began)
	operations := 0
	for _, n := range counts {
		operations += n
	}
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return float64(took) / float64(operations), nil
}

// lookEvery is the maximum of operations between two checks of the clock.
const (
	lookEvery = 64
	slow      = time.Millisecond // for a few operations together
)

// repeat checks the clock after each operation, or less often if operations are fast.
func (w work) repeat(store workload.Store, s *source, end time.Time) (operations int, err error) {
	for times := 1; ; {
		before := time.Now()
		for range times {
			n, err := w.once(store, s)
			operations += n
			if err != nil {
				return operations, err
			}
		}
		now := time.Now()
		if !now.Before(end) {
			return operations, nil
		}
		times = min(2*times, lookEvery)
		if now.Sub(before) > slow {
			times = 1
		}
	}
}
