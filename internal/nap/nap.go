// Package nap lets background work pause for less than a millisecond.
//
// While a goroutine computes on each processor, any other goroutine that wakes up waits up to
// 10 ms for the runtime to preempt one of them. Work that nobody waits for should not cause
// such waits. A goroutine that only yields stays runnable, so its processor never looks for
// work elsewhere, and timers that expired on busy processors wait as well. Only a goroutine
// that blocks frees its processor for them. The runtime's own timers block for at least a
// millisecond, which would leave the work a tenth of the time.
//
// What must hold: called often enough, StepAside releases the processor once a slice while
// every processor is busy, and less often when it cannot be sure of that. While a processor is
// free, so that others can wake up there, StepAside costs next to nothing. However many
// goroutines compute, the work gets at least about a fifth of the time. Only one goroutine at a
// time uses a Napper.
package nap

import (
	"runtime/metrics"
	"time"
)

const (
	// slice is how long the work runs before it steps aside, and aside is for how long. On a
	// very busy machine stepping aside may take longer than a slice. The next slice is then as
	// long as that wait, up to longSlice, or a quarter of the wait, up to longestSlice,
	// whichever is longer. Otherwise the work would hardly ever run. When perhaps not all
	// processors are busy, the slice is doubtSlice.
	slice      = 100 * time.Microsecond
	doubtSlice = 500 * time.Microsecond
	aside      = 20 * time.Microsecond
	longSlice  = 2 * time.Millisecond

	longestSlice = 100 * time.Millisecond // the whole process may have been stopped during a wait

	// looksBack is the number of looks at the load over which a system call must be present to
	// count as always there.
	looksBack = 32
)

// Napper naps. Make one with New and Close it.
type Napper struct {
	timer timer     // made by the first nap, so that a Napper at rest has no descriptor
	until time.Time // when the slice ends

	load           [3]metrics.Sample
	looks          int    // at the load
	minOutside     uint64 // fewest goroutines in system calls at any look since looks was a multiple of looksBack
	lastMinOutside uint64 // the same for the looksBack looks before those
}

// New returns a Napper. It never fails: where the system has no better timer, a Napper uses the
// runtime's.
func New() *Napper {
	n := new(Napper)
	n.load[0].Name = "/sched/goroutines/running:goroutines"
	n.load[1].Name = "/sched/goroutines/not-in-go:goroutines"
	n.load[2].Name = "/sched/gomaxprocs:threads"
	return n
}

// StepAside is called between small pieces of work. It naps if a slice is over and no processor
// is known to be free. foreground says that other work is known to be running that should not
// wait, perhaps in system calls.
func (n *Napper) StepAside(foreground bool) {
	now := time.Now()
	if now.Before(n.until) {
		return
	}
	var waited time.Duration
	next := slice
	load := n.look(foreground)
	if load != free {
		n.nap(aside)
		now, waited = time.Now(), time.Since(now)
	}
	if load == perhapsBusy {
		next = doubtSlice
	}
	n.until = now.Add(max(next, min(waited, longSlice), min(waited/4, longestSlice)))
}

// load says how many of the runtime's processors are busy: they run a goroutine, or one that is
// in a short system call, which keeps its processor for a while.
type load int

const (
	free load = iota // not all
	perhapsBusy
	busy // all
)

// look returns the load. A long system call does not keep its processor, but the runtime's
// metric does not tell long calls from short ones. Calls that are there at every look may be
// long ones, or short ones that follow each other. With a known foreground, look takes them for
// short ones.
func (n *Napper) look(foreground bool) load {
	metrics.Read(n.load[:])
	for i := range n.load {
		if n.load[i].Value.Kind() != metrics.KindUint64 {
			return busy // the runtime lacks this metric
		}
	}
	running, outside, processors := n.load[0].Value.Uint64(), n.load[1].Value.Uint64(), n.load[2].Value.Uint64()
	if n.looks++; n.looks%looksBack == 0 {
		n.lastMinOutside, n.minOutside = n.minOutside, outside
	}
	n.minOutside = min(n.minOutside, outside)
	switch {
	case running+outside < processors:
		return free
	case foreground || running+outside-min(n.lastMinOutside, n.minOutside) >= processors:
		return busy
	default:
		return perhapsBusy
	}
}

// nap blocks the calling goroutine for about d, never much less.
func (n *Napper) nap(d time.Duration) {
	if !n.timer.wait(d) {
		time.Sleep(d)
	}
}

// Close releases the timer. The Napper may be used again, and closed again.
func (n *Napper) Close() { n.timer.close() }
