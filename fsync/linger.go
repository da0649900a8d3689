package fsync

import (
	"runtime"
	"time"
)

// linger decides when a leader waits for company. Writers that were committed
// together come back together a few microseconds later, when the next leader has
// just begun a sync without them; so they end up in two halves that take turns.
// A leader that lets them catch up first has them all in one.
//
// Measured by BenchmarkDurableWrites, where writers come back at once, with an
// fdatasync of 140 µs on ext4, two cores: 16 writers make 52,000 writes a second
// without and 80,000 with it, after waits of 4 µs on average.
//
// The wait is made of yields, not of a timer: the runtime's timers are a
// millisecond late when all Ps are idle. A yield in its turn takes 10 ms when
// other goroutines keep the Ps busy. So a wait that took too long, for whichever
// reason, is not repeated for a while, and each time for twice as long.
type linger struct {
	company int           // how many were there at the last hand-over: committed, or in the queue
	began   time.Time     // when the last commit began
	ended   time.Time     // and ended
	took    time.Duration // the difference
	skip    int           // how many times yet not to wait
	backoff int           // how many times that was the last time
}

const (
	// A wait is limited by this fraction of the last commit's duration,
	lingerFraction = 4
	// by this,
	lingerMost = 100 * time.Microsecond
	// and, should the clock stand still, by so many yields.
	lingerMostYields = 4096
	// When it was in vain it is not repeated for at most so many commits.
	lingerMostBackoff = 1024
)

// limit is how long a leader may wait, 0 for not at all. A lone writer has had no
// company, and so never waits; and after a pause nobody knows who will come.
func (l *linger) limit(now time.Time) time.Duration {
	limit := min(l.took/lingerFraction, lingerMost)
	if l.company <= 1 || now.Sub(l.ended) > limit {
		return 0
	}
	if l.skip > 0 {
		l.skip--
		return 0
	}
	return limit
}

// waited notes how long a wait took.
func (l *linger) waited(took, limit time.Duration) {
	if took <= limit {
		l.backoff = 0
		return
	}
	l.backoff = min(max(1, 2*l.backoff), lingerMostBackoff)
	l.skip = l.backoff
}

// committed notes the end of a commit and who was there then.
func (l *linger) committed(members, queued int, now time.Time) {
	l.company = members + queued
	l.ended = now
	l.took = now.Sub(l.began)
}

// waitForCompanyLocked lets those who were there at the last hand-over queue up,
// for a short time. The mutex is held before and after, not meanwhile.
func (g *Group[M]) waitForCompanyLocked() {
	now := time.Now()
	if g.companyMissing() {
		if limit := g.linger.limit(now); limit > 0 {
			now = g.yieldLocked(now, limit)
		}
	}
	g.linger.began = now
}

// yieldLocked is the wait, for limit at most. It returns the time then.
func (g *Group[M]) yieldLocked(began time.Time, limit time.Duration) time.Time {
	for range lingerMostYields {
		g.mu.Unlock()
		runtime.Gosched()
		g.mu.Lock()
		now := time.Now()
		if took := now.Sub(began); took > limit || !g.companyMissing() {
			g.linger.waited(took, limit)
			return now
		}
	}
	g.linger.waited(limit+1, limit)
	return time.Now()
}

// companyMissing tells whether not all of them are there yet.
func (g *Group[M]) companyMissing() bool { return len(g.members)+g.queue.length < g.linger.company }
