// Package nap makes background work step aside for less than a millisecond.
//
// With a goroutine that computes on each processor, any other that wakes up waits
// for the runtime to preempt one of them, 10 ms. Work that nobody waits for should
// not be among those. A goroutine that only yields stays runnable, so its processor
// never looks for work elsewhere, and a timer that has come due on a busy processor
// waits as well. Only a goroutine that blocks frees its processor for that. The
// runtime's own timers block for a millisecond at least, which would leave the work
// a tenth of the time.
//
// What must hold: StepAside, called often enough, lets the processor go once a slice
// while every processor is busy, less often where that is not known for sure, and
// holds none meanwhile; while one is free, on which anybody else can wake up, it costs
// next to nothing. However many goroutines compute, the work gets about a fifth of the
// time at least. One goroutine at a time uses a Napper.
package nap

import (
	"runtime/metrics"
	"time"
)

const (
	// slice is how long the work goes on before it steps aside, and aside is for how
	// long. On a machine so busy that stepping aside takes longer than a slice, the
	// work goes on for as long as it was kept waiting, up to longSlice, or a quarter
	// of that if it is more, up to longestSlice, rather than hardly ever. Where perhaps
	// not all processors are busy the slice is doubtSlice.
	slice      = 100 * time.Microsecond
	doubtSlice = 500 * time.Microsecond
	aside      = 20 * time.Microsecond
	longSlice  = 2 * time.Millisecond

	longestSlice = 100 * time.Millisecond // for all of this may have been stopped

	// looksBack is in how many looks at the load something is always there.
	looksBack = 32
)

// Napper naps. Make one with New and Close it.
type Napper struct {
	timer timer     // made by the first nap, so that a Napper at rest has no descriptor
	until time.Time // when the slice ends

	load   [3]metrics.Sample
	looks  int    // at the load
	least  uint64 // goroutines in system calls, at any look since looks was a multiple of looksBack
	always uint64 // the same of the looks before
}

// New returns a Napper. It never fails: where the system has no better timer,
// the runtime's serves.
func New() *Napper {
	n := new(Napper)
	n.load[0].Name = "/sched/goroutines/running:goroutines"
	n.load[1].Name = "/sched/goroutines/not-in-go:goroutines"
	n.load[2].Name = "/sched/gomaxprocs:threads"
	return n
}

// StepAside is called between small pieces of work. It naps if a slice of work is
// over and no processor is free. foreground says that somebody is known to be at work
// who should not wait, perhaps in system calls.
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

// load is how many of the processors that the runtime may use have a goroutine on
// them, or in a short system call, which keeps them for a while.
type load int

const (
	free load = iota // not all
	perhapsBusy
	busy // all
)

// look finds out the load. A long system call does not keep its processor, and the
// runtime counts both kinds as one. Calls that are there at every look may be long
// ones, or short ones that follow each other; with a known foreground they are taken
// for short.
func (n *Napper) look(foreground bool) load {
	metrics.Read(n.load[:])
	for i := range n.load {
		if n.load[i].Value.Kind() != metrics.KindUint64 {
			return busy // a runtime that does not tell
		}
	}
	running, outside, processors := n.load[0].Value.Uint64(), n.load[1].Value.Uint64(), n.load[2].Value.Uint64()
	if n.looks++; n.looks%looksBack == 0 {
		n.always, n.least = n.least, outside
	}
	n.least = min(n.least, outside)
	switch {
	case running+outside < processors:
		return free
	case foreground || running+outside-min(n.always, n.least) >= processors:
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
