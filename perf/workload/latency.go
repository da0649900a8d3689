package workload

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// Pace starts operations at a fixed rate, from several goroutines in turn, for the
// duration of a phase. An operation's latency counts from its intended start,
// whatever delayed it, so that the wait behind a slow operation is included.
//
// A goroutine sleeps in the system until the next start, and continues at once if it
// is late.
func Pace(ctx context.Context, rate int, phase time.Duration, goroutines int, prepare func(goroutine int) func() error) (Result, error) {
	p := pacer{
		interval: time.Duration(goroutines) * time.Second / time.Duration(rate),
		each:     max(1, int(phase.Seconds()*float64(rate))/goroutines),
		began:    time.Now(),
	}
	processor := rig.ProcessorTime()
	latencies := make([]Result, goroutines)
	errs := make([]error, goroutines)
	var group sync.WaitGroup
	for g := range goroutines {
		op := prepare(g)
		group.Go(func() {
			latencies[g], errs[g] = p.keep(ctx, time.Duration(g)*time.Second/time.Duration(rate), op)
		})
	}
	group.Wait()
	r := Result{Goroutines: goroutines, Took: time.Since(p.began), Processor: rig.ProcessorTime() - processor, Latency: NewHistogram()}
	for _, l := range latencies {
		r.Operations += l.Operations
		r.Latency.Merge(l.Latency)
	}
	return r, errors.Join(errs...)
}

// pacer is what the goroutines share.
type pacer struct {
	interval time.Duration // of one goroutine
	each     int
	began    time.Time
}

// keep runs one goroutine, whose first operation starts at first, counted from began.
func (p pacer) keep(ctx context.Context, first time.Duration, op func() error) (Result, error) {
	sleeper := rig.NewSleeper()
	defer sleeper.Close()
	r := Result{Latency: NewHistogram()}
	for n := range p.each {
		due := first + time.Duration(n)*p.interval
		for now := time.Since(p.began); now < due; now = time.Since(p.began) {
			sleeper.Sleep(due - now)
		}
		if err := op(); err != nil {
			return r, err
		}
		Record(r.Latency, time.Since(p.began)-due)
		if r.Operations++; r.Operations%lookEvery == 0 && ctx.Err() != nil {
			return r, ctx.Err()
		}
	}
	return r, nil
}

// Beside calls do while each of the others runs in a separate goroutine. Their context
// ends when do returns; context.Canceled from them is not an error.
func Beside(ctx context.Context, do func() error, others ...func(ctx context.Context) error) error {
	aside, stop := context.WithCancel(ctx)
	errs := make([]error, len(others))
	var group sync.WaitGroup
	for i, other := range others {
		group.Go(func() {
			if err := other(aside); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = err
			}
		})
	}
	err := do()
	stop()
	group.Wait()
	return errors.Join(err, errors.Join(errs...))
}

// readLatency measures reads in three phases.
func (s *session) readLatency() error {
	return s.inPhases("read-latency", func() (Result, error) {
		return Pace(s.ctx, s.Rate, s.Phase, 1, func(g int) func() error { return s.newReader(s.uniform(g)).view })
	})
}

// inPhases measures the same thing alone, beside a writer, and, if the store can
// compact, beside a writer and compaction.
func (s *session) inPhases(family string, measure func() (Result, error)) error {
	if s.engine.OpenQuiet != nil { // compactUntil below compacts
		if err := s.reopen(s.engine.OpenQuiet); err != nil {
			return err
		}
		s.awaitRest()
	}
	phases := []struct {
		name   string
		others []func(ctx context.Context) error
	}{
		{"alone", nil},
		{"writer", []func(ctx context.Context) error{s.overwriteUntil}},
	}
	if _, ok := s.store.(Compactor); ok {
		phases = append(phases, phases[1])
		phases[2].name, phases[2].others = "writer+compaction", append(phases[2].others, s.compactUntil)
	}
	for _, phase := range phases {
		before, stalled := s.version.Load(), s.stalled()
		var r Result
		err := Beside(s.ctx, func() (err error) {
			r, err = measure()
			return err
		}, phase.others...)
		if err != nil {
			return err
		}
		name := family + "/" + phase.name
		r.Workload, r.Engine = name, s.engine.Name
		r.Figures = []Figure{{"puts beside", float64(s.version.Load()-before) / r.Took.Seconds(), "/s"}}
		r.Figures = append(r.Figures, s.waited(stalled)...)
		s.emit(r)
		if err := s.after(name); err != nil {
			return err
		}
	}
	if s.engine.OpenQuiet == nil {
		return nil
	}
	return s.reopen(s.engine.Open)
}

// overwriteUntil puts random keys until the context ends.
func (s *session) overwriteUntil(ctx context.Context) error {
	w := s.newWriter(uniform(s.Keys, s.Seed, 1))
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if err := w.put(); err != nil {
			return err
		}
		if s.WriterRate > 0 {
			time.Sleep(time.Duration(n)*time.Second/time.Duration(s.WriterRate) - time.Since(began))
		}
	}
	return nil
}

// compactUntil compacts without pause until the context ends.
func (s *session) compactUntil(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.store.(Compactor).Compact(ctx); err != nil {
			return err
		}
	}
	return nil
}

// durableAtOnce is how many goroutines put at a fixed rate if each put waits for the
// disk.
const durableAtOnce = 64

func (s *session) putLatency() error {
	goroutines := 1
	if s.engine.Survives == PowerLoss {
		goroutines = durableAtOnce
	}
	stalled := s.stalled()
	r, err := Pace(s.ctx, s.Rate, s.Phase, goroutines, func(g int) func() error { return s.newWriter(s.uniform(g)).put })
	if err != nil {
		return err
	}
	r.Workload, r.Engine, r.Figures = "put-latency", s.engine.Name, s.waited(stalled)
	s.emit(r)
	return nil
}

// besideCompaction compares the speed of the foreground alone and beside a compaction
// of a store of which half was overwritten.
func (s *session) besideCompaction() error {
	if s.engine.OpenQuiet == nil {
		return nil
	}
	if err := s.reopen(s.engine.OpenQuiet); err != nil {
		return err
	}
	for _, t := range []task{
		{name: "compaction/view", prepare: func(g int) func() (int, error) { return one(s.newReader(s.uniform(g)).view) }},
		{name: "compaction/put", prepare: func(g int) func() (int, error) { return one(s.newWriter(s.uniform(g)).put) }},
	} {
		if err := s.aloneAndBeside(t); err != nil {
			return err
		}
	}
	return s.reopen(s.engine.Open)
}

func (s *session) aloneAndBeside(t task) error {
	t.goroutines, t.operations = 1, endless
	if err := s.leaveGarbage(); err != nil {
		return err
	}
	alone, err := s.measureFor(s.Phase, t)
	if err != nil {
		return err
	}
	var beside Result
	for beside.Took < s.Phase {
		if err := s.leaveGarbage(); err != nil {
			return err
		}
		s.awaitRest()
		ended := make(chan struct{})
		t.until = ended
		err := Beside(s.ctx, func() error {
			r, err := s.measureFor(time.Hour, t)
			beside.Operations, beside.Took, beside.Processor = beside.Operations+r.Operations, beside.Took+r.Took, beside.Processor+r.Processor
			return err
		}, func(context.Context) error {
			defer close(ended)
			return s.store.(Compactor).Compact(s.ctx)
		})
		if err != nil {
			return err
		}
	}
	beside.Workload, beside.Engine, beside.Goroutines = t.name+" beside", s.engine.Name, 1
	beside.Figures = []Figure{{"speed kept", 100 * alone.PerOperation() / beside.PerOperation(), "%"}}
	alone.Workload += " alone"
	s.emit(alone)
	s.emit(beside)
	return nil
}

// leaveGarbage overwrites half of the keys.
func (s *session) leaveGarbage() error {
	w := s.newWriter(s.uniform(2))
	for range s.Keys / 2 {
		if err := w.put(); err != nil {
			return err
		}
	}
	return s.ctx.Err()
}
