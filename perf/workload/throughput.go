package workload

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

var all = []Workload{
	{"load", "every key once, in random order, one by one; also the peak size of the index", nil},
	{"memory", "heap and index bytes for each key", (*session).memory},
	{"gc", "a full garbage collection beside the loaded store", (*session).collect},
	{"view", "reads of uniformly random keys without a copy", (*session).view},
	{"get", "reads of uniformly random keys into a buffer", (*session).get},
	{"many", "reads of 64 uniformly random keys at a time", (*session).getMany},
	{"has", "existence checks of uniformly random keys", (*session).has},
	{"zipf", "reads of keys of a Zipf distribution, theta 0.99, without a copy", (*session).zipf},
	{"absent", "reads of absent keys", (*session).absent},
	{"keys", "all keys", (*session).allKeys},
	{"range", "all pairs", (*session).allPairs},
	{"scan", "all pairs, in order", (*session).scanPairs},
	{"scan-keys", "all keys, in order", (*session).scanKeys},
	{"scan-reverse", "all pairs, from the highest key down", (*session).scanReverse},
	{"iterate", "all pairs, in order, step by step", (*session).iterate},
	{"seek", "1, 10 and 50 pairs from uniformly random keys on, each time with a new scan", (*session).seek},
	{"seek-open", "the same with a cursor that stays open", (*session).seekOpen},
	{"disk", "disk space of the closed store, without garbage", (*session).disk},
	{"ycsb-c", "YCSB C: reads only, Zipf", (*session).ycsbC},
	{"ycsb-b", "YCSB B: 95 % reads, 5 % updates, Zipf", (*session).ycsbB},
	{"ycsb-a", "YCSB A: half reads, half updates, Zipf", (*session).ycsbA},
	{"ycsb-f", "YCSB F: half reads, half read-modify-writes, Zipf", (*session).ycsbF},
	{"ycsb-d", "YCSB D: 95 % reads of the newest, 5 % inserts", (*session).ycsbD},
	{"ycsb-e", "YCSB E: 95 % scans of 1 to 100 pairs from popular keys on, 5 % inserts", (*session).ycsbE},
	{"put", "new versions of uniformly random keys, one by one", (*session).put},
	{"batch", "new versions of uniformly random keys, many at a time", (*session).batch},
	{"read-latency", "reads at a fixed rate: alone, beside a writer, beside a writer and compaction", (*session).readLatency},
	{"scan-beside", "all pairs, in order: alone, beside a writer, beside a writer and compaction", (*session).scanBeside},
	{"put-latency", "puts at a fixed rate", (*session).putLatency},
	{"compaction", "reads and puts alone, and beside a compaction at full speed", (*session).besideCompaction},
	{"scan-compacted", "all pairs, in order, after a compaction", (*session).scanCompacted},
	{"durable", "puts that survive a power loss, from several goroutines", (*session).durable},
	{"open", "opening the store after it was closed", (*session).openClosed},
	{"open-killed", "opening a store whose process was killed", (*session).openKilled},
	{"loading", "reads and puts at a fixed rate while the store loads, and once it is loaded", (*session).besideLoading},
	{"prefix", "all pairs, and all keys, of a prefix that 100 keys share", (*session).prefix},
	{"swath", "the lowest pair above many deleted keys: just after their deletion, again, and at rest", (*session).swath},
	{"order", "memory and disk space that order takes, for keys such as user:00001234", (*session).order},
	{"cold", "reads of a store with nothing in memory", (*session).cold},
}

// load puts every key once. A store that syncs each write is loaded in batches, which
// gives no result.
func (s *session) load() error {
	if s.engine.Survives == PowerLoss {
		return s.loadByBatches()
	}
	w := s.newWriter(nil)
	var number atomic.Int64
	index := s.watchIndex(&number)
	result, err := s.measureFor(time.Hour, task{name: "load", goroutines: 1, operations: s.Keys, timed: true, prepare: func(int) func() (int, error) {
		return one(func() error { return w.insert(int(number.Add(1)) - 1) })
	}})
	result.Figures = append(result.Figures, index()...)
	if err == nil && s.selected("load") {
		s.emit(result)
	}
	return err
}

// measureFor is measure with another limit of time.
func (s *session) measureFor(longest time.Duration, t task) (Result, error) {
	usual := s.Longest
	s.Longest = longest
	defer func() { s.Longest = usual }()
	return s.measure(t)
}

func (s *session) loadByBatches() error {
	w := s.newWriter(nil)
	for from := 0; from < s.Keys; {
		w.pairs = s.makePairs(min(1000, s.Keys-from))
		for i := range w.pairs {
			w.fill(&w.pairs[i], from+i)
		}
		if err := s.store.Write(w.pairs); err != nil || s.ctx.Err() != nil {
			return firstOf(err, s.ctx.Err())
		}
		from += len(w.pairs)
	}
	return nil
}

func firstOf(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// watchIndex samples the size of the index while it grows, until the returned
// function is called, which returns the figures.
func (s *session) watchIndex(keys *atomic.Int64) func() []Figure {
	indexed, ok := s.store.(Indexed)
	if !ok {
		return func() []Figure { return nil }
	}
	var sum, worst float64
	var samples int
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			// In a small index the fixed costs dominate.
			if n := float64(keys.Load()); n >= float64(s.Keys)/10 {
				perKey := float64(indexed.IndexBytes()) / n
				sum, worst, samples = sum+perKey, max(worst, perKey), samples+1
			}
		}
	}()
	return func() []Figure {
		close(stop)
		<-stopped
		if samples == 0 {
			return nil
		}
		return []Figure{{"index while it grows", sum / float64(samples), "B/key"}, {"index at its worst", worst, "B/key"}}
	}
}

func (s *session) memory() error {
	used := float64(rig.HeapInUse()) - float64(s.heap)
	r := Result{Workload: "memory", Engine: s.engine.Name, Figures: []Figure{{"heap", used / float64(s.Keys), "B/key"}}}
	if indexed, ok := s.store.(Indexed); ok {
		r.Figures = append(r.Figures, Figure{"index", float64(indexed.IndexBytes()) / float64(s.Keys), "B/key"})
	}
	s.emit(r)
	return nil
}

// collect times several collections and reports the median.
func (s *session) collect() error {
	runtime.GC()
	took := make([]time.Duration, 5)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	processor := rig.ProcessorTime()
	for i := range took {
		began := time.Now()
		runtime.GC()
		took[i] = time.Since(began)
	}
	processor = (rig.ProcessorTime() - processor) / time.Duration(len(took))
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	var pause uint64
	for n := before.NumGC; n < after.NumGC; n++ {
		pause = max(pause, after.PauseNs[n%uint32(len(after.PauseNs))])
	}
	s.emit(Result{Workload: "gc", Engine: s.engine.Name, Operations: 1, Took: took[len(took)/2], Processor: processor,
		Figures: []Figure{{"longest pause", float64(pause) / 1e3, "µs"}}})
	return nil
}

// reads runs an operation with each number of reading goroutines.
func (s *session) reads(name string, choose func(goroutine int) chooser, op func(*reader) error) error {
	for _, goroutines := range s.Goroutines {
		err := s.report(task{name: name, goroutines: goroutines, warm: true, prepare: func(g int) func() (int, error) {
			r := s.newReader(choose(g))
			return one(func() error { return op(r) })
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) uniform(goroutine int) chooser { return uniform(s.Keys, s.Seed, goroutine) }

func (s *session) scrambled(goroutine int) chooser { return s.ranks().scrambled(s.Keys, goroutine) }

func (s *session) view() error   { return s.reads("view", s.uniform, (*reader).view) }
func (s *session) get() error    { return s.reads("get", s.uniform, (*reader).get) }
func (s *session) has() error    { return s.reads("has", s.uniform, (*reader).has) }
func (s *session) zipf() error   { return s.reads("zipf", s.scrambled, (*reader).view) }
func (s *session) absent() error { return s.reads("absent", s.uniform, (*reader).miss) }

func (s *session) getMany() error {
	store, ok := s.store.(ManyReader)
	if !ok {
		return nil
	}
	for _, goroutines := range s.Goroutines {
		err := s.report(task{name: "many", goroutines: goroutines, warm: true, operations: max(1, s.Operations/together), prepare: func(g int) func() (int, error) {
			return s.newMany(store, s.uniform(g)).get
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) allKeys() error {
	return s.walk("keys", func(seen func(key []byte) error) error { return s.store.Keys(seen) })
}

func (s *session) allPairs() error {
	return s.walk("range", func(seen func(key []byte) error) error {
		return s.store.Range(func(key, value []byte) error {
			number, err := s.Number(key)
			if err != nil {
				return err
			}
			if err := s.Verify(number, value); err != nil {
				return err
			}
			return seen(key)
		})
	})
}

func (s *session) walk(name string, walk func(seen func(key []byte) error) error) error {
	return s.report(task{name: name, goroutines: 1, operations: 1, prepare: func(int) func() (int, error) {
		return func() (n int, err error) {
			if err := walk(func([]byte) error { n++; return nil }); err != nil {
				return n, err
			}
			if n != s.Keys+s.inserted {
				return n, fmt.Errorf("workload: iterated over %d keys, not %d", n, s.Keys+s.inserted)
			}
			return n, nil
		}
	}})
}

// ycsb mixes reads with something else; readPercent of the operations are reads.
func (s *session) ycsb(name string, readPercent int, other func(*reader, *writer) error) error {
	return s.report(task{name: name, goroutines: 1, prepare: func(g int) func() (int, error) {
		r, w := s.newReader(s.scrambled(g)), s.newWriter(s.scrambled(g+1))
		random := rand.New(rand.NewPCG(s.Seed, uint64(g)))
		return one(func() error {
			if random.IntN(100) < readPercent {
				return r.get()
			}
			return other(r, w)
		})
	}})
}

func (s *session) ycsbA() error {
	return s.ycsb("ycsb-a", 50, func(_ *reader, w *writer) error { return w.put() })
}

func (s *session) ycsbB() error {
	return s.ycsb("ycsb-b", 95, func(_ *reader, w *writer) error { return w.put() })
}

func (s *session) ycsbC() error { return s.ycsb("ycsb-c", 100, nil) }

// ycsbF follows every other read with a write.
func (s *session) ycsbF() error {
	return s.ycsb("ycsb-f", 50, func(r *reader, w *writer) error {
		if err := r.get(); err != nil {
			return err
		}
		return w.insert(r.number)
	})
}

func (s *session) ycsbD() error {
	ranks := s.ranks().from(0)
	latest := func() int { return s.Keys + s.inserted - 1 - ranks() }
	return s.report(task{name: "ycsb-d", goroutines: 1, prepare: func(int) func() (int, error) {
		r, w := s.newReader(latest), s.newWriter(nil)
		random := rand.New(rand.NewPCG(s.Seed, 0))
		return one(func() error {
			if random.IntN(100) < 95 {
				return r.get()
			}
			if err := w.insert(s.Keys + s.inserted); err != nil {
				return err
			}
			s.inserted++
			return nil
		})
	}})
}

// put times each put: the longest ones show what stalls writers.
func (s *session) put() error {
	if s.engine.Survives == PowerLoss {
		return nil // see durable
	}
	return s.report(task{name: "put", goroutines: 1, timed: true, prepare: func(g int) func() (int, error) {
		return one(s.newWriter(s.uniform(g)).put)
	}})
}

func (s *session) batch() error {
	return s.report(task{name: "batch", goroutines: 1, operations: max(1, s.Operations/s.BatchSize), timed: true, prepare: func(g int) func() (int, error) {
		w := s.newWriter(s.uniform(g))
		w.pairs = s.makePairs(s.BatchSize)
		return w.batch
	}})
}

// durable does as many puts as fit in a phase.
func (s *session) durable() error {
	if s.engine.Survives != PowerLoss {
		return nil
	}
	for _, goroutines := range s.Durable {
		result, err := s.measureFor(s.Phase, task{name: "durable", goroutines: goroutines, operations: endless, timed: true, prepare: func(g int) func() (int, error) {
			return one(s.newWriter(s.uniform(g)).put)
		}})
		if err != nil {
			return err
		}
		s.emit(result)
	}
	return nil
}
