package fsync

import (
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Group lets concurrent callers share one commit. Each enters with a member. One
// caller at a time, the leader, commits its own member and all that have queued up
// meanwhile. When it leaves, the first in the queue leads.
//
//	members, lead := g.Enter(m)
//	if lead {
//		defer g.Leave()
//		commit(members)
//	}
//
// What must hold: no two commits run at a time; every member is in exactly one of
// them, in the order of the queue; and when Enter returns without the lead, the
// leader that got the member has begun to leave.
//
// Leave is deferred, so a commit that panics keeps nobody waiting. Its members count
// as committed, however far it came: one that carries an outcome should begin as
// failed.
type Group[M any] struct {
	lingers bool
	waiters sync.Pool // of *waiter[M]

	mu     rank.Mutex[rank.Group] // guards what follows
	busy   bool                   // somebody leads, or is woken to lead
	queue  list[M]                // those that wait, without the leader
	linger linger

	// members and followers are the leader's, from its turn until it leaves.
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

// NewGroup makes a Group.
func NewGroup[M any]() *Group[M] {
	g := &Group[M]{}
	g.waiters.New = func() any { return &waiter[M]{turn: make(chan bool, 1)} }
	return g
}

// SetLinger says whether leaders wait for company, which pays when a commit
// includes a sync: see linger. It is called before the first Enter.
func (g *Group[M]) SetLinger(on bool) { g.lingers = on }

// Enter waits until the caller leads, or until a leader is done with m. A caller that
// leads has to commit the members, m first, and then to call Leave. Until then the
// slice and what it holds are the caller's, and it may not enter again.
func (g *Group[M]) Enter(m M) (members []M, lead bool) {
	rank.Acquire[rank.Leadership]()
	g.mu.Lock()
	if g.busy && !g.awaitTurn(m, false) {
		rank.Release[rank.Leadership]()
		return nil, false
	}
	g.busy = true // for a woken leader it is already
	g.members = append(g.members, m)
	if g.lingers {
		g.waitForCompanyLocked()
	}
	g.gatherLocked()
	members = g.members
	g.mu.Unlock()
	return members, true
}

// EnterAlone waits until the caller leads, with no members. It waits for its turn as
// a member does, and those behind it in the queue wait until it calls Leave.
func (g *Group[M]) EnterAlone() {
	var none M
	rank.Acquire[rank.Leadership]()
	g.mu.Lock()
	if g.busy {
		g.awaitTurn(none, true)
	}
	g.busy = true
	g.mu.Unlock()
}

// Leave ends the leader's turn: the callers whose members it got return, and the
// first in the queue leads.
func (g *Group[M]) Leave() {
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
