// Package tick calls many functions once a second from one goroutine.
//
// A process may have thousands of stores, each with something to check now and then. A timer
// for each would wake a processor for each, at moments spread over the second: 4,000 idle
// stores took a tenth of a processor. So all share one clock. It has a few moments a second,
// and calls a share of the functions at each of them, one after the other.
//
// What must hold:
//
//   - A function is called once an interval, and for the first time within two. Missed calls
//     are not made up for: after the process stood still, the next calls follow as usual.
//   - Once the function that Every returned has returned, the registered function does not run
//     any more.
//   - The goroutine lives while a function is registered. It has ended when the end of the last
//     one returns.
//   - A moment without functions wakes no processor.
//
// A function delays all others, so it must not block: it checks whether there is work, and
// wakes a goroutine that does it. It must not end itself.
package tick

import (
	"sync"
	"time"
)

// moments is the number of moments in an interval.
const moments = 16

// Clock calls functions once an interval. It is safe for concurrent use.
type Clock struct {
	interval time.Duration

	mu      sync.Mutex // guards the rest
	turns   [moments][]*turn
	count   int
	running *runner // nil while no function is registered
}

// turn is one registered function.
type turn struct {
	mu    sync.Mutex // held while fn runs; guards ended
	fn    func()
	ended bool
}

// runner is the goroutine.
type runner struct {
	quit chan struct{}
	done chan struct{} // closed when the goroutine ends
}

// New returns a separate Clock, for a test. Other callers share the Clock of the package
// function Every.
func New(interval time.Duration) *Clock { return &Clock{interval: interval} }

var shared = New(time.Second)

// Every calls fn once a second until end is called.
func Every(fn func()) (end func()) { return shared.Every(fn) }

// Every calls fn once an interval until end is called.
func (c *Clock) Every(fn func()) (end func()) {
	t := &turn{fn: fn}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.emptiestLocked()
	c.turns[at] = append(c.turns[at], t)
	if c.count++; c.running == nil {
		c.running = &runner{make(chan struct{}), make(chan struct{})}
		go c.run(c.running)
	}
	return func() { c.end(at, t) }
}

func (c *Clock) emptiestLocked() (at int) {
	for i := range c.turns {
		if len(c.turns[i]) < len(c.turns[at]) {
			at = i
		}
	}
	return at
}

// end removes a function, and ends the goroutine when it was the last one.
func (c *Clock) end(at int, t *turn) {
	t.mu.Lock()
	before := t.ended
	t.ended = true
	t.mu.Unlock()
	if before {
		return
	}
	c.mu.Lock()
	var last *runner
	c.removeLocked(at, t)
	if c.count--; c.count == 0 {
		last, c.running = c.running, nil
	}
	c.mu.Unlock()
	if last != nil {
		close(last.quit)
		<-last.done
	}
}

func (c *Clock) removeLocked(at int, t *turn) {
	turns := c.turns[at]
	for i := range turns {
		if turns[i] == t {
			last := len(turns) - 1
			turns[i], turns[last] = turns[last], nil
			c.turns[at] = turns[:last]
			return
		}
	}
}

// run is the goroutine. It goes from one moment that has functions to the next.
func (c *Clock) run(r *runner) {
	defer close(r.done)
	timer := time.NewTimer(c.interval)
	defer timer.Stop()
	step := c.interval / moments
	due, at := time.Now(), 0
	var turns []*turn
	for {
		ahead := c.ahead(at)
		at = (at + ahead) % moments
		due = due.Add(time.Duration(ahead) * step)
		if late := time.Since(due); late > c.interval {
			due = due.Add(late)
		}
		timer.Reset(time.Until(due))
		select {
		case <-r.quit:
			return
		case <-timer.C:
		}
		turns = c.turnsAt(at, turns[:0])
		for _, t := range turns {
			t.take()
		}
		clear(turns)
	}
}

// ahead returns how many moments after the given one the next moment with functions is.
func (c *Clock) ahead(at int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n = 1; n < moments && len(c.turns[(at+n)%moments]) == 0; n++ {
	}
	return n
}

func (c *Clock) turnsAt(at int, turns []*turn) []*turn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(turns, c.turns[at]...)
}

// take calls the function, unless it has ended.
func (t *turn) take() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.fn()
	}
}
