package fsync

import (
	"runtime"
	"time"
)

// linger decides when a leader waits for company. Writers that were committed
// together write again together a few microseconds later, when the next leader has
// just begun a sync without them. So they split into two halves that take turns.
// A leader that lets them catch up commits all of them in one group.
//
// BenchmarkDurableWrites, whose writers write again at once, measured this on ext4
// with an fdatasync of 140 µs and two cores: 16 writers make 52,000 writes a second
// without lingering and 80,000 with it. The average wait was 4 µs.
//
// A leader waits by yielding, not with a timer: the runtime's timers are a
// millisecond late when all Ps are idle. But a yield takes 10 ms when other
// goroutines keep the Ps busy. So after a wait that took too long, for whatever
// reason, the next commits do not wait: twice as many of them each time.
type linger struct {
	company int           // how many members were committed or queued at the last hand-over
	began   time.Time     // when the last commit began
	ended   time.Time     // when it ended
	took    time.Duration // ended minus began
	skip    int           // how many more waits to skip
	backoff int           // the last value that skip was set to
}

const (
	// A wait lasts at most the last commit's duration divided by this,
	lingerFraction = 4
	// at most this long,
	lingerMost = 100 * time.Microsecond
	// and, in case the clock stands still, at most this many yields.
	lingerMostYields = 4096
	// A wait that took too long is followed by at most this many commits without one.
	lingerMostBackoff = 1024
)

// limit is how long a leader may wait; 0 means not at all. A lone writer has had no
// company, so it never waits. After a pause nobody can tell who will write next.
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

// committed notes the end of a commit, its members, and the writers queued by then.
func (l *linger) committed(members, queued int, now time.Time) {
	l.company = members + queued
	l.ended = now
	l.took = now.Sub(l.began)
}

// waitForCompanyLocked gives the members of the last hand-over a short time to queue
// up again. It unlocks the mutex while it waits.
func (g *Group[M]) waitForCompanyLocked() {
	now := time.Now()
	if g.companyMissing() {
		if limit := g.linger.limit(now); limit > 0 {
			now = g.yieldLocked(now, limit)
		}
	}
	g.linger.began = now
}

// yieldLocked waits for limit at most, and returns the time at the end.
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

// companyMissing tells whether some of the company has not queued up yet.
func (g *Group[M]) companyMissing() bool { return len(g.members)+g.queue.length < g.linger.company }
