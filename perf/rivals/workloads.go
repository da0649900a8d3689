package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// workload is something to do again and again.
type workload struct {
	name       string
	goroutines int
	// once does it and says how many operations that was.
	once func(e engine, s *source) (operations int, err error)
}

const (
	loadBatch  = 1000    // pairs
	writeBatch = 100     // pairs
	readBatch  = 64      // keys
	absent     = 1 << 31 // above the number of every key that is there
)

// writing overwrites random keys. What follows reads what is left after settle.
var writing = []workload{
	{"put one by one", 1, putOne(uniform)},
	{"put, batches of 100", 1, putMany},
	{"YCSB A: half updates, 2 goroutines", 2, ycsb(50)},
	{"YCSB B: 5% updates, 2 goroutines", 2, ycsb(5)},
}

var reading = []workload{
	{"read without copy", 1, view(uniform)},
	{"read without copy, 2 goroutines", 2, view(uniform)},
	{"read a copy", 1, readCopy},
	{"read 64 keys in one call", 1, viewMany},
	{"read an absent key", 1, readAbsent},
	{"YCSB C: reads only, 2 goroutines", 2, ycsb(0)},
}

var durable = []workload{
	{"durable put, 1 goroutine", 1, putOne(uniform)},
	{"durable put, 4 goroutines", 4, putOne(uniform)},
	{"durable put, 16 goroutines", 16, putOne(uniform)},
	{"durable put, 64 goroutines", 64, putOne(uniform)},
}

func uniform(s *source) int { return s.uniform() }
func popular(s *source) int { return s.popular() }

func putOne(number func(*source) int) func(engine, *source) (int, error) {
	return func(e engine, s *source) (int, error) {
		return 1, e.put(s.pair(number(s)))
	}
}

func putMany(e engine, s *source) (int, error) {
	return writeBatch, e.putMany(s.pairs(writeBatch, s.uniform))
}

func view(number func(*source) int) func(engine, *source) (int, error) {
	return func(e engine, s *source) (int, error) {
		s.reading = number(s)
		s.key = appendKey(s.key[:0], s.reading)
		found, err := e.view(s.key, s.check)
		return 1, must(found, err, s.reading)
	}
}

func readCopy(e engine, s *source) (int, error) {
	i := s.uniform()
	s.key = appendKey(s.key[:0], i)
	value, found, err := e.appendGet(s.copied[:0], s.key)
	s.copied = value
	if err := must(found, err, i); err != nil {
		return 1, err
	}
	return 1, s.checkValue(i, value)
}

func viewMany(e engine, s *source) (int, error) {
	return readBatch, e.viewMany(s.someKeys(readBatch), s.checkOneOfMany)
}

func readAbsent(e engine, s *source) (int, error) {
	i := absent + s.uniform()
	s.key = appendKey(s.key[:0], i)
	found, err := e.view(s.key, s.check)
	if err == nil && found {
		err = fmt.Errorf("key %d was never put and is there", i)
	}
	return 1, err
}

func must(found bool, err error, i int) error {
	if err == nil && !found {
		return fmt.Errorf("key %d is not there", i)
	}
	return err
}

// ycsb reads popular keys, and updates some of a hundred.
func ycsb(updates int) func(engine, *source) (int, error) {
	read, update := view(popular), putOne(popular)
	return func(e engine, s *source) (int, error) {
		if s.random.IntN(100) < updates {
			return update(e, s)
		}
		return read(e, s)
	}
}

// run does a workload for a while and returns the nanoseconds that an operation took:
// all the time by all operations, whatever goroutine did them.
func (w workload) run(e engine, d *data, seed uint64, duration time.Duration) (float64, error) {
	counts, errs := make([]int, w.goroutines), make([]error, w.goroutines)
	var group sync.WaitGroup
	began := time.Now()
	for g := range w.goroutines {
		group.Go(func() { counts[g], errs[g] = w.repeat(e, d.newSource(seed, uint64(g)), began.Add(duration)) })
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

// lookEvery is how many operations are done at most between two looks at the clock.
const (
	lookEvery = 64
	slow      = time.Millisecond // for a few operations together
)

// repeat looks at the clock after each operation unless they are
// fast.
func (w workload) repeat(e engine, s *source, end time.Time) (operations int, err error) {
	for times := 1; ; {
		before := time.Now()
		for range times {
			n, err := w.once(e, s)
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
