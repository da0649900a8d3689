// Package tick calls many functions once a second from one goroutine.
//
// A process may have thousands of stores, each with something to look at now and then.
// A timer for each wakes a processor for each, at moments spread over the second:
// 4,000 idle stores took a tenth of one. So all share one clock, which has a few moments
// a second, and calls at each of them a share of the functions, one behind the other.
//
// What must hold:
//
//   - A function is called once an interval, for the first time within two. Calls are
//     not made up for: where the process stood still, the next ones follow as usual.
//   - When what Every returned has been called and has returned, the function neither
//     runs nor will.
//   - The goroutine lives while a function is registered. When the last one's end
//     has returned, it is gone.
//   - A moment without functions wakes nobody.
//
// A function holds up all others, so it does not block: it looks, and wakes a goroutine
// that does the work. It must not end itself.
package tick

import (
	"sync"
	"time"
)

// moments is how many there are in an interval.
const moments = 16

// Clock calls functions once an interval. Its methods may be called by any number of
// goroutines at once.
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
	done chan struct{} // closed when it is gone
}

// New makes a Clock of its own, for a test. Others share the one of Every.
func New(interval time.Duration) *Clock { return &Clock{interval: interval} }

var shared = New(time.Second)

// Every calls fn once a second until the function that it returns is called.
func Every(fn func()) (end func()) { return shared.Every(fn) }

// Every calls fn once an interval until the function that it returns is called.
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

// end takes a function out, and the goroutine with the last one.
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

// run is the goroutine: from moment to moment that has functions.
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

// ahead is how many moments behind one the next is that has functions.
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
