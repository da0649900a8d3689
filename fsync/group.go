package fsync

import (
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Group lets concurrent callers share one commit. Each hands in a member; one of
// them at a time, the leader, commits its own and all that have queued up
// meanwhile, and then the first of those that have queued up since leads.
//
// What must hold: commit is never run twice at a time; it gets every member
// exactly once, in the order of the queue; and when Do returns, the commit call
// that got its member has returned.
type Group[M any] struct {
	commit  func(members []M)
	lingers bool
	waiters sync.Pool // of *waiter[M]

	mu     rank.Mutex[rank.Group] // guards what follows
	busy   bool                   // somebody leads, or is woken to lead
	queue  list[M]                // those that wait, without the leader
	linger linger

	// members and followers are the leader's, from its turn to its hand-over.
	members   []M
	followers list[M]
}

// waiter is a caller in the queue.
type waiter[M any] struct {
	member    M
	exclusive bool      // brings no member, and commits with nobody
	turn      chan bool // true: lead; false: your member is committed
	next      *waiter[M]
}

// list is a queue of waiters.
type list[M any] struct {
	first, last *waiter[M]
	length      int
}

// NewGroup makes a Group. commit may keep neither the slice nor what it holds.
// If it panics, its leader's Do panics, and the members that the call got are
// done with: their Do returns. So a member that carries an outcome should begin
// as failed.
func NewGroup[M any](commit func(members []M)) *Group[M] {
	g := &Group[M]{commit: commit}
	g.waiters.New = func() any { return &waiter[M]{turn: make(chan bool, 1)} }
	return g
}

// SetLinger says whether leaders wait for company, which pays when a commit
// includes a sync: see linger. It is called before the first Do.
func (g *Group[M]) SetLinger(on bool) { g.lingers = on }

// Do has m committed, alone or with others, here or by another caller.
func (g *Group[M]) Do(m M) {
	rank.Acquire[rank.Leadership]()
	g.mu.Lock()
	if g.busy && !g.awaitTurn(m, false) {
		rank.Release[rank.Leadership]()
		return
	}
	g.busy = true // for a woken leader it is already
	g.members = append(g.members, m)
	if g.lingers {
		g.waitForCompanyLocked()
	}
	g.gatherLocked()
	g.mu.Unlock()

	defer g.handOver()
	g.commit(g.members)
}

// Exclusive runs fn while no commit runs. It waits for its turn like a member,
// and those behind it in the queue wait for it. fn must not call Do or Exclusive.
func (g *Group[M]) Exclusive(fn func()) {
	var none M
	rank.Acquire[rank.Leadership]()
	g.mu.Lock()
	if g.busy {
		g.awaitTurn(none, true)
	}
	g.busy = true
	g.mu.Unlock()

	defer g.handOver()
	fn()
}

// awaitTurn queues, and returns true, with the mutex held, when it is the
// caller's turn to lead; false, without the mutex, when its member is committed.
// It is called with the mutex held.
func (g *Group[M]) awaitTurn(m M, exclusive bool) (lead bool) {
	w := g.waiters.Get().(*waiter[M])
	w.member, w.exclusive = m, exclusive
	g.queue.push(w)
	g.mu.Unlock()

	lead = <-w.turn

	var none M
	w.member = none
	g.waiters.Put(w)
	if lead {
		g.mu.Lock()
	}
	return lead
}

// gatherLocked moves the queue's members to the leader, up to the first caller
// that wants to be alone.
func (g *Group[M]) gatherLocked() {
	for g.queue.first != nil && !g.queue.first.exclusive {
		w := g.queue.pop()
		g.members = append(g.members, w.member)
		g.followers.push(w)
	}
}

// handOver ends the leader's turn, also when commit has panicked: its followers
// return, and the first in the queue leads.
func (g *Group[M]) handOver() {
	var ended time.Time
	if g.lingers {
		ended = time.Now()
	}
	g.mu.Lock()
	if g.lingers && len(g.members) > 0 {
		g.linger.committed(len(g.members), g.queue.length, ended)
	}
	clear(g.members)
	g.members = g.members[:0]
	followers := g.followers
	g.followers = list[M]{}
	next := g.queue.pop()
	g.busy = next != nil
	g.mu.Unlock()

	for w := followers.pop(); w != nil; w = followers.pop() {
		w.turn <- false
	}
	if next != nil {
		next.turn <- true
	}
	rank.Release[rank.Leadership]()
}

func (l *list[M]) push(w *waiter[M]) {
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.length++
}

// pop takes the first waiter out, nil when there is none.
func (l *list[M]) pop() *waiter[M] {
	w := l.first
	if w == nil {
		return nil
	}
	l.first, w.next = w.next, nil
	if l.first == nil {
		l.last = nil
	}
	l.length--
	return w
}
