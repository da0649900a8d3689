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
// while every processor is busy, and holds none meanwhile; while one is free, on which
// anybody else can wake up, it costs next to nothing. However many goroutines compute,
// the work gets about a fifth of the time at least. One goroutine at a time uses a
// Napper.
package nap

import (
	"runtime/metrics"
	"time"
)

const (
	// slice is how long the work goes on before it steps aside, and aside is for how
	// long. On a machine so busy that stepping aside takes longer than a slice, the
	// work goes on for as long as it was kept waiting, up to longSlice, or a quarter
	// of that if it is more, rather than hardly ever.
	slice     = 100 * time.Microsecond
	aside     = 20 * time.Microsecond
	longSlice = 2 * time.Millisecond

	// looksBack is in how many looks at the load something is always there.
	looksBack = 32
)

// Napper naps. Make one with New and Close it.
type Napper struct {
	timer timer
	until time.Time // when the slice ends

	load    [3]metrics.Sample
	looks   int    // at the load
	least   uint64 // goroutines outside of Go, of those since looks was a multiple of looksBack
	blocked uint64 // the least of those before
}

// New returns a Napper. It never fails: where the system has no better timer,
// the runtime's serves.
func New() *Napper {
	n := &Napper{timer: newTimer()}
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
	if n.busy(foreground) {
		n.nap(aside)
		now, waited = time.Now(), time.Since(now)
	}
	n.until = now.Add(max(slice, min(waited, longSlice), waited/4))
}

// busy says whether each processor that the runtime may use has a goroutine on it,
// or in a short system call, which keeps it for a while. A long one does not keep it,
// and the runtime counts both kinds as one. Those that are there at every look are
// taken for long ones; goroutines that make one short call after the other look the
// same, so that with a known foreground all count as short.
func (n *Napper) busy(foreground bool) bool {
	metrics.Read(n.load[:])
	for i := range n.load {
		if n.load[i].Value.Kind() != metrics.KindUint64 {
			return true // a runtime that does not tell
		}
	}
	running, outside, processors := n.load[0].Value.Uint64(), n.load[1].Value.Uint64(), n.load[2].Value.Uint64()
	if n.looks++; n.looks%looksBack == 0 {
		n.blocked, n.least = n.least, outside
	}
	n.least = min(n.least, outside)
	if !foreground {
		outside -= min(n.blocked, n.least)
	}
	return running+outside >= processors
}

// nap blocks the calling goroutine for about d, never much less.
func (n *Napper) nap(d time.Duration) {
	if !n.timer.wait(d) {
		time.Sleep(d)
	}
}

// Close releases the timer.
func (n *Napper) Close() { n.timer.close() }
