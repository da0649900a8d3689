package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// The names of figures that are not a work's.
const (
	figureLoad       = "load, random order, batches of 1000"
	figureOpenKilled = "open after SIGKILL, read a key"
	figureLost       = "pairs lost by SIGKILL, of the last 10,000"
	figureRange      = "iterate over all pairs"
	figureKeys       = "iterate over all keys"
	figureClose      = "close"
	figureOpenClosed = "open after close, read a key"

	// Of what is loaded after Open has returned.
	figureReadyKilled = "open after SIGKILL, until loaded"
	figureReadyClosed = "open after close, until loaded"

	figureHeap      = "Go heap for each key"
	figureAnonymous = "anonymous memory for each key"
	figureDisk      = "disk / bytes of keys and values"
)

const (
	lastPairs = 10_000 // before the kill
	warmUp    = 4      // one of this many keys is read before reads are measured
)

// turn measures everything about one engine in one round, starting from an empty
// directory. No other engine is open at the same time: its heap would make the garbage
// collections of this one expensive.
type turn struct {
	config
	rival
	ctx     context.Context
	data    *data
	seed    uint64
	dir     string
	figures map[string]float64
	store   workload.Store // nil while closed
}

func (t *turn) take() (err error) {
	defer func() {
		if t.store != nil {
			_ = t.close() // err already says more
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", t.name, err)
		}
	}()
	t.figures = map[string]float64{}
	for _, s := range steps {
		wanted := len(s.names) == 0 || slices.ContainsFunc(s.names, func(name string) bool { return slices.Contains(t.steps, name) })
		if !wanted || t.inMemory && s.files {
			continue
		}
		if err := s.do(t); err != nil {
			return err
		}
	}
	return t.close()
}

// step is a part of a turn.
type step struct {
	names []string // those of the flag -run that need it; none: always
	files bool     // a store in memory skips it
	do    func(*turn) error
}

// steps are in the order in which a turn takes them.
var steps = []step{
	{nil, false, (*turn).load},
	{nil, false, (*turn).openKilled},
	{[]string{"write"}, false, (*turn).overwrite},
	{[]string{"latency"}, false, (*turn).readAtPace},
	{[]string{"read", "iterate", "scan", "seek"}, false, (*turn).settle},
	{[]string{"read"}, false, (*turn).read},
	{[]string{"iterate"}, false, (*turn).iterate},
	{[]string{"scan"}, true, (*turn).scan},
	{[]string{"seek"}, true, (*turn).seek},
	{[]string{"open"}, true, (*turn).openClosed},
	{[]string{"durable"}, true, (*turn).writeDurably},
	{changing, true, (*turn).settleAgain},
	{[]string{"beside"}, true, (*turn).scanBeside},
	{[]string{"ycsb-e"}, true, (*turn).ycsbE},
	{[]string{"prefix"}, true, (*turn).prefix},
	{[]string{"swath"}, true, (*turn).crossSwath},
}

// changing are the steps that scan while keys are added and removed, so they come last.
var changing = []string{"beside", "ycsb-e", "prefix", "swath"}

// stepNames are the names for the flag -run.
func stepNames() (names []string) {
	for _, s := range steps {
		for _, name := range s.names {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// load starts a child that fills the store and is then killed.
func (t *turn) load() error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	said, err := loadInChild(loading{Engine: t.name, Dir: t.dir, Keys: t.data.keys, ValueSize: t.data.valueSize, SegmentSize: int64(t.segment), Seed: t.seed})
	if err != nil {
		return err
	}
	t.figures[figureLoad] = said.Load
	t.figures[figureHeap] = said.Heap
	t.figures[figureAnonymous] = said.Anonymous
	return nil
}

// openKilled opens the store that the child left, and puts the pairs that were lost.
func (t *turn) openKilled() (err error) {
	source := t.data.newSource(t.seed, 1)
	if t.inMemory {
		if t.store, err = t.open(t.dir, workload.Kill); err != nil {
			return err
		}
		return load(t.store, source, 0, t.data.keys)
	}
	if err := t.openAndRead(figureOpenKilled, figureReadyKilled); err != nil {
		return err
	}
	lost := 0
	for i := max(0, t.data.keys-lastPairs); i < t.data.keys; i++ {
		key, value := source.pair(i)
		has, err := t.store.Has(key)
		if err != nil {
			return err
		}
		if has {
			continue
		}
		lost++
		if err := t.store.Put(key, value); err != nil {
			return err
		}
	}
	t.figures[figureLost] = float64(lost)
	if lost > 0 && !t.tailMayBeLost {
		return fmt.Errorf("%d pairs that were acknowledged are lost after SIGKILL", lost)
	}
	return nil
}

// openAndRead measures the time until a first value is read, so that an engine that
// defers the work of opening gains nothing; and until all is loaded.
func (t *turn) openAndRead(figure, ready string) (err error) {
	key := appendKey(nil, 0)
	began := time.Now()
	if t.store, err = t.open(t.dir, workload.Kill); err != nil {
		return err
	}
	_, err = t.store.Get(nil, key)
	t.figures[figure] = float64(time.Since(began))
	if store, ok := t.store.(workload.Loading); ok && err == nil {
		err = store.Ready(t.ctx)
	}
	t.figures[ready] = float64(time.Since(began))
	return of(0, err)
}

func (t *turn) overwrite() error { return t.do(writing) }

func (t *turn) do(works []work) error {
	for _, w := range works {
		took, err := w.run(t.store, t.data, t.seed, t.duration)
		if err != nil {
			return err
		}
		t.figures[w.name] = took
	}
	return nil
}

// settle brings the engine to its best state for reads, with warm caches.
func (t *turn) settle() error {
	if err := compact(t.store); err != nil {
		return err
	}
	source := t.data.newSource(t.seed, 2)
	for range t.data.keys / warmUp {
		if _, err := view(uniform)(t.store, source); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) read() error { return t.do(reading) }

// iterate goes through all pairs and through all keys, in any order.
func (t *turn) iterate() error {
	pairs := 0
	err := t.walk(figureRange, &pairs, func() error {
		return t.store.Range(func(key, value []byte) error {
			if len(key) != keySize || len(value) != t.data.valueSize {
				return fmt.Errorf("a pair of %d and %d bytes", len(key), len(value))
			}
			pairs++
			return nil
		})
	})
	if err != nil {
		return err
	}
	pairs = 0
	return t.walk(figureKeys, &pairs, func() error {
		return t.store.Keys(func(key []byte) error {
			if len(key) != keySize {
				return fmt.Errorf("a key of %d bytes", len(key))
			}
			pairs++
			return nil
		})
	})
}

// walk times a walk over all pairs, which counts them.
func (t *turn) walk(figure string, pairs *int, walk func() error) error {
	began := time.Now()
	err := walk()
	t.figures[figure] = float64(time.Since(began)) / float64(t.data.keys)
	if err == nil && *pairs != t.data.keys {
		err = fmt.Errorf("%s: %d of %d", figure, *pairs, t.data.keys)
	}
	return err
}

// openClosed closes and opens the store, and measures its disk space in between.
func (t *turn) openClosed() error {
	began := time.Now()
	if err := t.close(); err != nil {
		return err
	}
	t.figures[figureClose] = float64(time.Since(began))
	files, err := rig.Allocated(t.dir)
	if err != nil {
		return err
	}
	disk := int64(0)
	for _, size := range files {
		disk += size
	}
	t.figures[figureDisk] = float64(disk) / float64(t.data.keys*(keySize+t.data.valueSize))
	return t.openAndRead(figureOpenClosed, figureReadyClosed)
}

// writeDurably first flushes all dirty pages of the system.
func (t *turn) writeDurably() (err error) {
	if err := t.close(); err != nil {
		return err
	}
	syscall.Sync()
	if t.store, err = t.open(t.dir, workload.PowerLoss); err != nil {
		return err
	}
	for _, w := range durable {
		if g, ok := t.store.(groupWriter); ok {
			g.expectWriters(w.goroutines)
		}
		if err := t.do([]work{w}); err != nil {
			return err
		}
	}
	return nil
}

// close closes the store, and frees its garbage before the next engine's turn.
func (t *turn) close() error {
	store := t.store
	t.store = nil
	err := store.Close()
	debug.FreeOSMemory()
	return err
}
