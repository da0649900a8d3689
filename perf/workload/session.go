package workload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// Config configures a measurement.
type Config struct {
	Data
	// Operations is how many operations each goroutine of a workload does, unless it
	// stops earlier, after Longest. When the first goroutine is done the others stop
	// too: the rest would measure fewer goroutines.
	Operations int
	Longest    time.Duration
	// Goroutines are the numbers of concurrent readers, measured in turn.
	Goroutines []int
	// Swath is how many keys next to each other are deleted before a scan.
	Swath int
	// BatchSize is how many pairs are written together.
	BatchSize int
	// Durable are the numbers of concurrent writers whose writes survive a power
	// loss, measured in turn.
	Durable []int
	// Rate is how many operations start per second where latency is measured, and
	// Phase is how long each part of that takes.
	Rate  int
	Phase time.Duration
	// WriterRate is how many puts per second the writer beside the readers makes; 0:
	// as many as it can.
	WriterRate int
	// Rest is how long a workload waits at most for background work to finish.
	Rest time.Duration
	// After, unless nil, is called after each workload, and after each phase of
	// read-latency, while the store is open and at rest, to measure floors under the
	// same conditions.
	After func(ctx context.Context, workload, dir string) error
	// Before, unless nil, is called before each workload, and before the load even if
	// the load is not one of them.
	Before func(workload string) error
}

// Check returns an error if nothing can be measured with it.
func (c Config) Check() error {
	positive := c.Operations > 0 && c.Longest > 0 && c.BatchSize > 0 && c.Swath > 0 && c.Rate > 0 && c.Phase > 0 && c.WriterRate >= 0
	for _, n := range append(slices.Clone(c.Goroutines), c.Durable...) {
		positive = positive && n > 0
	}
	if !positive || len(c.Goroutines) == 0 || len(c.Durable) == 0 {
		return errors.New("workload: every count, rate and time must be positive")
	}
	return c.Data.Check()
}

// Workload is one thing to measure.
type Workload struct {
	Name, About string
	run         func(*session) error
}

// All returns every workload, in the order in which they run.
func All() []Workload { return slices.Clone(all) }

// Select returns the workloads with these names, or all of them if there are no
// names. A name that ends with * selects by prefix.
func Select(names []string) ([]Workload, error) {
	if len(names) == 0 {
		return All(), nil
	}
	selected := map[string]bool{}
	for _, name := range names {
		found := false
		for _, w := range all {
			prefix, many := strings.CutSuffix(name, "*")
			if w.Name == name || many && strings.HasPrefix(w.Name, prefix) {
				selected[w.Name], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("workload: there is no %q", name)
		}
	}
	return slices.DeleteFunc(All(), func(w Workload) bool { return !selected[w.Name] }), nil
}

// Run loads a new store in dir, which exists and is empty, runs the workloads with
// it and closes it. It calls emit with each result as soon as it has it.
func Run(ctx context.Context, engine Engine, dir string, c Config, workloads []Workload, emit func(Result)) error {
	return run(ctx, engine, dir, c, workloads, emit, (*session).load)
}

// RunLoaded is Run with a store that already has all keys, or behaves as if it had.
func RunLoaded(ctx context.Context, engine Engine, dir string, c Config, workloads []Workload, emit func(Result)) error {
	return run(ctx, engine, dir, c, workloads, emit, func(*session) error { return nil })
}

func run(ctx context.Context, engine Engine, dir string, c Config, workloads []Workload, emit func(Result), load func(*session) error) (err error) {
	if err := c.Check(); err != nil {
		return err
	}
	s := &session{Config: c, ctx: ctx, engine: engine, dir: dir, emit: emit}
	s.selected = func(name string) bool {
		return slices.ContainsFunc(workloads, func(w Workload) bool { return w.Name == name })
	}
	if err := s.open(engine.Open); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.before("load"); err != nil {
		return err
	}
	if err := load(s); err != nil {
		return fmt.Errorf("%s: load: %w", engine.Name, err)
	}
	for _, w := range workloads {
		if err := s.before(w.Name); err != nil {
			return err
		}
		if w.run != nil {
			if err := w.run(s); err != nil {
				return fmt.Errorf("%s: %s: %w", engine.Name, w.Name, err)
			}
		}
		if err := s.after(w.Name); err != nil {
			return err
		}
	}
	return nil
}

// session is the measurement of one store.
type session struct {
	Config
	ctx      context.Context
	engine   Engine
	dir      string
	emit     func(Result)
	selected func(workload string) bool

	store    Store         // nil: closed
	skewed   ranks         // drawn on first use
	version  atomic.Uint64 // of the last write
	inserted int           // numbers from Keys on that have a value
	heap     uint64        // bytes before the store was opened
}

func (s *session) open(open func(dir string) (Store, error)) (err error) {
	if s.heap == 0 {
		s.heap = rig.HeapInUse()
	}
	s.store, err = open(s.dir)
	return err
}

func (s *session) close() error {
	if s.store == nil {
		return nil
	}
	store := s.store
	s.store = nil
	return store.Close()
}

// reopen closes the store and opens it again with the given function.
func (s *session) reopen(open func(dir string) (Store, error)) error {
	if err := s.close(); err != nil {
		return err
	}
	return s.open(open)
}

func (s *session) before(name string) error {
	if s.Before == nil {
		return nil
	}
	return s.Before(name)
}

func (s *session) after(name string) error {
	if s.After == nil {
		return nil
	}
	return s.After(s.ctx, name, s.dir)
}

// ranks draws the ranks once.
func (s *session) ranks() ranks {
	if s.skewed == nil {
		s.skewed = newRanks(s.Keys, s.Seed)
	}
	return s.skewed
}

// task is the work of a measurement's goroutines.
type task struct {
	name       string
	goroutines int
	operations int // of each goroutine; 0: Config.Operations
	timed      bool
	warm       bool            // one goroutine first does a quarter of it
	until      <-chan struct{} // ends it earlier, unless nil
	// prepare makes the operation of one goroutine; the operation returns how many
	// things it did.
	prepare func(goroutine int) func() (int, error)
}

// one makes an operation that does one thing.
func one(op func() error) func() (int, error) {
	return func() (int, error) { return 1, op() }
}

// endless is the number of operations of a task that only time ends.
const endless = math.MaxInt

// lookEvery is how many operations are done between two checks of the clock.
const lookEvery = 64

// measure runs a task; all its goroutines start at the same moment.
func (s *session) measure(t task) (Result, error) {
	if t.operations == 0 {
		t.operations = s.Operations
	}
	if t.warm {
		// The first touch of a page of mapped memory is a fault.
		w := worker{op: t.prepare(t.goroutines), ended: new(atomic.Bool)}
		if w.work(s.ctx, time.Now(), max(1, t.operations/4), s.Longest/4); w.err != nil {
			return Result{}, w.err
		}
	}
	workers := make([]worker, t.goroutines)
	var ended atomic.Bool
	for g := range workers {
		workers[g].op, workers[g].until, workers[g].ended = t.prepare(g), t.until, &ended
		if t.timed {
			workers[g].latency = NewHistogram()
		}
	}
	runtime.GC()        // garbage of earlier work does not count
	if t.until == nil { // otherwise concurrent work ends it
		s.awaitRest()
	}
	start := make(chan time.Time)
	var group sync.WaitGroup
	for g := range workers {
		group.Go(func() { workers[g].work(s.ctx, <-start, t.operations, s.Longest) })
	}
	stalled := s.stalled()
	began, processor := time.Now(), rig.ProcessorTime()
	for range workers {
		start <- began
	}
	group.Wait()
	result := Result{
		Workload: t.name, Engine: s.engine.Name, Goroutines: t.goroutines,
		Took: time.Since(began), Processor: rig.ProcessorTime() - processor,
	}
	result.Figures = s.waited(stalled)
	var err error
	for _, w := range workers {
		err = errors.Join(err, w.err)
		result.Operations += w.did
		if result.Latency == nil {
			result.Latency = w.latency
		} else {
			result.Latency.Merge(w.latency)
		}
	}
	return result, err
}

// awaitRest returns when the process is nearly idle, so that the compaction of one
// workload's garbage does not count for the next workload.
func (s *session) awaitRest() { rig.AwaitRest(s.ctx, s.Rest) }

// stalled is how long writers have waited so far, 0 if the store does not know.
func (s *session) stalled() time.Duration {
	if store, ok := s.store.(Stalling); ok {
		return store.WriteStall()
	}
	return 0
}

// waited returns how long writers have waited since stalled returned since, if at
// all.
func (s *session) waited(since time.Duration) []Figure {
	if waited := s.stalled() - since; waited > 0 {
		return []Figure{{"writers waited", waited.Seconds() * 1e3, "ms"}}
	}
	return nil
}

// report measures a task and emits the result.
func (s *session) report(t task) error {
	result, err := s.measure(t)
	if err != nil {
		return err
	}
	s.emit(result)
	return nil
}

// worker is one goroutine of a task.
type worker struct {
	op      func() (int, error)
	until   <-chan struct{}
	ended   *atomic.Bool            // set when one goroutine is done: the others would have the machine to themselves
	latency *hdrhistogram.Histogram // nil: not timed
	did     int
	err     error
}

func (w *worker) work(ctx context.Context, began time.Time, operations int, longest time.Duration) {
	last, all := time.Now(), 0
	defer func() {
		w.did = all // written once: the counts of other goroutines share its cache line
		w.ended.Store(true)
	}()
	for n := range operations {
		if n%lookEvery == lookEvery-1 && w.over(ctx, began, longest) {
			return
		}
		did, err := w.op()
		if err != nil {
			w.err = err
			return
		}
		all += did
		if w.latency != nil {
			now := time.Now()
			Record(w.latency, now.Sub(last))
			last = now
		}
	}
}

func (w *worker) over(ctx context.Context, began time.Time, longest time.Duration) bool {
	select {
	case <-ctx.Done():
		w.err = ctx.Err()
		return true
	case <-w.until:
		return true
	default:
		return w.ended.Load() || time.Since(began) > longest
	}
}
