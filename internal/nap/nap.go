// Package nap lets background work step aside for less than a millisecond.
//
// A goroutine that only yields stays runnable, so its processor never looks for
// work elsewhere, and a timer that has come due on a busy processor waits, up to
// the 10 ms after which the runtime preempts. Only a goroutine that blocks frees
// its processor for that. The runtime's own timers block for a millisecond at
// least, which would leave background work a tenth of the time.
//
// What must hold: Nap returns after about d, never much earlier, and holds no
// processor meanwhile. One goroutine at a time uses a Napper.
package nap

import "time"

// Napper naps. Make one with New and Close it.
type Napper struct {
	timer timer
}

// New returns a Napper. It never fails: where the system has no better timer,
// the runtime's serves.
func New() *Napper { return &Napper{newTimer()} }

// Nap blocks the calling goroutine for about d.
func (n *Napper) Nap(d time.Duration) {
	if !n.timer.wait(d) {
		time.Sleep(d)
	}
}

// Close releases the timer.
func (n *Napper) Close() { n.timer.close() }
