package load

import "time"

// flushEvery is how many records a worker collects before it puts all of them into the index, so
// that the files which they are from count as loaded.
const flushEvery = 256 << 10

// start starts workers until there are as many as given, including those that already work.
func (l *Loading) start(workers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; l.started < workers; l.started++ {
		l.working.Go(l.work)
	}
}

// work is a worker: it takes steps until nothing is left or it is halted.
func (l *Loading) work() {
	l.prepared.Do(l.prepare)
	if l.halted() {
		return
	}
	c := l.newCollector()
	l.mu.Lock()
	for l.step(c) {
	}
	l.mu.Unlock()
	c.end()
}

// step does one thing, or waits for one to do, and reports whether there may be more. The youngest
// files come first: most of their records stay in the index. The caller holds the lock; step
// releases it while it works.
func (l *Loading) step(c *collector) bool {
	switch last := len(l.waiting) - 1; {
	case l.halted():
		return false
	case c.collected >= flushEvery || l.OneWorker && l.allRead(c):
		l.flush(c)
	case len(l.ready) > 0:
		l.readPieces(l.ready[0], c)
	case last >= 0:
		from := l.waiting[last]
		l.waiting = l.waiting[:last]
		l.open(from)
	case len(c.holds) > 0:
		l.flush(c)
	case l.opening > 0 || !l.complete:
		l.changed.Wait()
	default:
		return false
	}
	return true
}

// allRead reports whether the collector holds records, and all of the files that they are from.
func (l *Loading) allRead(c *collector) bool {
	for from := range c.holds {
		if !from.read {
			return false
		}
	}
	return len(c.holds) > 0
}

// flush puts what the collector has into the index. The caller holds the lock; flush releases it
// while it works.
func (l *Loading) flush(c *collector) {
	l.mu.Unlock()
	c.putAll()
	l.mu.Lock()
	more := false
	for from := range c.holds {
		if from.holders--; from.holders == 0 && from.read {
			from.loaded, more = true, true
		}
	}
	clear(c.holds)
	if more {
		l.publishUnloadedLocked()
		l.changed.Broadcast()
	}
}

// hold notes that the collector has records of a source. The caller holds the lock.
func (c *collector) hold(from *source) {
	if !c.holds[from] {
		c.holds[from] = true
		from.holders++
	}
}

// activeFor is how long workers give way after a read or a write.
const activeFor = 100 * time.Millisecond

// pause steps aside for reads and writes, if there are any. Without them it costs next to nothing.
func (c *collector) pause() {
	if c.napper == nil {
		return
	}
	now := time.Now()
	if asked := c.asked.Load(); asked != c.seen || c.Busy() {
		c.seen, c.active = asked, now.Add(activeFor)
	}
	if now.Before(c.active) {
		c.napper.StepAside(true)
	}
}
