package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// paced is reads and puts that start at fixed times, whatever delayed those before. A
// latency counts from the intended start, so that the wait behind a slow operation is
// included.
type paced struct {
	name  string
	reads bool // false: only puts, and the reader just keeps its pace
}

var besidePuts = []paced{{"reads", true}, {"no reads, the pace alone", false}}

// percentiles are the percentiles of the latencies that are reported.
var percentiles = []float64{99, 99.9, 99.99}

const figurePacedPut = "puts beside the reads"

func pacedFigure(name string, percentile float64) string {
	return fmt.Sprintf("%s, p%v", name, percentile)
}

// readAtPace reads random keys while a second goroutine puts random keys, each at its
// own rate.
func (t *turn) readAtPace() error {
	for _, p := range besidePuts {
		var gets, puts []time.Duration
		var getErr, putErr error
		var group sync.WaitGroup
		group.Go(func() {
			source := t.data.newSource(t.seed, 3)
			puts, putErr = keepPace(t.putRate, t.latency, func() error { return t.store.Put(source.pair(source.uniform())) })
		})
		group.Go(func() {
			source, read := t.data.newSource(t.seed, 4), view(uniform)
			gets, getErr = keepPace(t.readRate, t.latency, func() error {
				if !p.reads {
					return nil
				}
				_, err := read(t.store, source)
				return err
			})
		})
		group.Wait()
		if err := errors.Join(getErr, putErr); err != nil {
			return err
		}
		t.tell(p.name, gets)
		if p.reads {
			t.tell(figurePacedPut, puts)
		}
	}
	return nil
}

func (t *turn) tell(name string, latencies []time.Duration) {
	slices.Sort(latencies)
	for _, p := range percentiles {
		at := min(int(p/100*float64(len(latencies))), len(latencies)-1)
		t.figures[pacedFigure(name, p)] = float64(latencies[at])
	}
}

// patience bounds an operation that cannot keep its pace: it may run for this many
// times its duration.
const patience = 3

// keepPace calls do at a rate per second for a duration. Calls that have not begun when
// the patience ends are dropped; their latency is the time until then.
func keepPace(rate int, duration time.Duration, do func() error) ([]time.Duration, error) {
	sleeper := newSleeper()
	defer sleeper.close()
	latencies := make([]time.Duration, max(1, int(duration.Seconds()*float64(rate))))
	began := time.Now()
	now := time.Duration(0)
	for i := range latencies {
		due := time.Duration(i) * time.Second / time.Duration(rate)
		for now < due {
			sleeper.sleep(due - now)
			now = time.Since(began)
		}
		if now < patience*duration {
			if err := do(); err != nil {
				return nil, err
			}
			now = time.Since(began)
		}
		latencies[i] = now - due
	}
	return latencies, nil
}
