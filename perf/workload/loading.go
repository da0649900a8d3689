package workload

import (
	"context"
	"errors"
	"sync"
	"time"
)

// endOfLoading is a limit of time that no loading reaches.
const endOfLoading = time.Hour

// besideLoading measures the latency of reads and puts that begin as soon as Open has
// returned, until the store is loaded; and then of as many again, at least for a phase.
func (s *session) besideLoading() error {
	if _, ok := s.store.(Loading); !ok {
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	if err := s.open(s.engine.Open); err != nil {
		return err
	}
	until, stop := context.WithCancel(s.ctx)
	defer stop()
	var loaded error
	var group sync.WaitGroup
	group.Go(func() {
		loaded = s.ready()
		stop()
	})
	began := time.Now()
	err := s.readsAndPuts(until, endOfLoading, "")
	group.Wait()
	if err := errors.Join(err, loaded, s.ctx.Err()); err != nil {
		return err
	}
	return s.readsAndPuts(s.ctx, max(s.Phase, time.Since(began)), " once loaded")
}

// putsOfReads is how many reads begin for each put.
const putsOfReads = 10

// readsAndPuts starts both at fixed rates, until the context ends or for a duration,
// and emits a result for each.
func (s *session) readsAndPuts(ctx context.Context, duration time.Duration, when string) error {
	results, errs := make([]Result, 2), make([]error, 2)
	var group sync.WaitGroup
	group.Go(func() {
		results[0], errs[0] = Pace(ctx, s.Rate, duration, 1, func(g int) func() error { return s.newReader(s.uniform(g)).view })
	})
	group.Go(func() {
		results[1], errs[1] = Pace(ctx, max(1, s.Rate/putsOfReads), duration, 1, func(int) func() error { return s.newWriter(s.uniform(1)).put })
	})
	group.Wait()
	for i, name := range []string{"view", "put"} {
		if errs[i] != nil && !errors.Is(errs[i], context.Canceled) {
			return errs[i]
		}
		r := results[i]
		r.Workload, r.Engine, r.Processor = "loading/"+name+when, s.engine.Name, 0 // each would have that of both
		s.emit(r)
	}
	return nil
}
