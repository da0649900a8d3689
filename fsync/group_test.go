package fsync

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// do returns when this or another caller has committed m.
func (g *Group[M]) do(m M, commit func(members []M)) {
	members, lead := g.Enter(m)
	if lead {
		defer g.Leave()
		commit(members)
	}
}

// alone runs fn as a leader without members.
func (g *Group[M]) alone(fn func()) {
	g.EnterAlone()
	defer g.Leave()
	fn()
}

// gate is a Group whose commits report themselves and then wait to be let through.
type gate struct {
	*Group[int]
	entered chan []int
	leave   chan struct{}
}

func newGate() *gate {
	return &gate{NewGroup[int](), make(chan []int), make(chan struct{})}
}

func (g *gate) pass(m int) {
	g.do(m, func(members []int) {
		g.entered <- slices.Clone(members)
		<-g.leave
	})
}

// expect waits for the next commit and checks its members.
func (g *gate) expect(t *testing.T, members ...int) {
	t.Helper()
	if got := <-g.entered; !slices.Equal(got, members) {
		t.Errorf("commit of %v, want %v", got, members)
	}
}

func TestMembersAreCommittedInTheOrderOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var returned []int
		var mu sync.Mutex
		do := func(m int) {
			go func() {
				g.pass(m)
				mu.Lock()
				defer mu.Unlock()
				returned = append(returned, m)
			}()
			synctest.Wait()
		}
		again := make(chan struct{})
		go func() {
			g.pass(1)
			<-again
			g.pass(6)
		}()
		g.expect(t, 1)
		do(2)
		do(3)
		do(4)
		g.leave <- struct{}{}
		g.expect(t, 2, 3, 4)
		again <- struct{}{}
		synctest.Wait()
		do(7)
		if len(returned) != 0 {
			t.Errorf("%v returned before their commit", returned)
		}
		g.leave <- struct{}{}
		g.expect(t, 6, 7)
		synctest.Wait()
		slices.Sort(returned)
		if !slices.Equal(returned, []int{2, 3, 4}) {
			t.Errorf("%v returned after their commit", returned)
		}
		g.leave <- struct{}{}
		synctest.Wait()
	})
}

func TestLeaderThatEnteredAloneTakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		alone := make(chan struct{})
		start := func(f func()) { go f(); synctest.Wait() }

		start(func() { g.alone(func() { <-alone }) })
		start(func() { g.pass(1) })
		start(func() { g.pass(2) })
		start(func() { g.alone(func() { <-alone }) })
		start(func() { g.pass(3) })
		select {
		case got := <-g.entered:
			t.Errorf("commit of %v beside a leader that entered alone", got)
		default:
		}
		alone <- struct{}{}
		g.expect(t, 1, 2)
		select {
		case alone <- struct{}{}:
			t.Error("a leader entered alone beside a commit")
		default:
		}
		g.leave <- struct{}{}
		alone <- struct{}{}
		g.expect(t, 3)
		g.leave <- struct{}{}
		synctest.Wait()
	})
}

func TestGroupUnderStress(t *testing.T) {
	for _, linger := range []bool{false, true} {
		t.Run(fmt.Sprintf("linger=%v", linger), func(t *testing.T) {
			const writers, each = 16, 1500
			type member struct {
				writer, number int
				commits        atomic.Int32
			}
			var inside atomic.Int32
			var committed []*member // no lock: the race detector notices two commits at once
			enter := func() {
				if inside.Add(1) != 1 {
					t.Error("two commits at a time")
				}
			}
			g := NewGroup[*member]()
			commit := func(members []*member) {
				enter()
				for _, m := range members {
					m.commits.Add(1)
					committed = append(committed, m)
				}
				if rand.IntN(8) == 0 {
					runtime.Gosched()
				}
				inside.Add(-1)
			}
			g.SetLinger(linger)
			timesAlone := 0
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for n := range each {
						if rand.IntN(50) == 0 {
							g.alone(func() {
								enter()
								timesAlone++
								inside.Add(-1)
							})
						}
						m := &member{writer: w, number: n}
						g.do(m, commit)
						if got := m.commits.Load(); got != 1 {
							t.Errorf("%d commits of a member when its caller went on", got)
						}
					}
				})
			}
			all.Wait()
			if len(committed) != writers*each {
				t.Errorf("%d members committed of %d", len(committed), writers*each)
			}
			var next [writers]int
			for _, m := range committed {
				if m.number != next[m.writer] {
					t.Fatalf("member %d of writer %d committed when %d was next", m.number, m.writer, next[m.writer])
				}
				next[m.writer]++
			}
			if g.busy || g.queue.first != nil || g.queue.length != 0 {
				t.Errorf("the group is not at rest: %+v", g.queue)
			}
		})
	}
}

// recovered is the value that f panics with.
func recovered(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}

func TestPanickingCommitLetsOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var commits [][]int
		g := NewGroup[int]()
		commit := func(members []int) {
			commits = append(commits, slices.Clone(members))
			<-hold
			if members[0] < 0 {
				panic(members[0])
			}
		}
		outcome := make(map[int]any)
		var mu sync.Mutex
		do := func(m int) {
			go func() {
				r := recovered(func() { g.do(m, commit) })
				mu.Lock()
				defer mu.Unlock()
				outcome[m] = r
			}()
			synctest.Wait()
		}
		do(-1)
		do(-2)
		do(3) // in the group that -2 leads
		hold <- struct{}{}
		synctest.Wait()
		do(4)
		hold <- struct{}{}
		hold <- struct{}{}
		synctest.Wait()
		go func() { hold <- struct{}{} }()
		g.do(5, commit)

		if got, want := fmt.Sprint(commits), "[[-1] [-2 3] [4] [5]]"; got != want {
			t.Errorf("commits %v, want %v", got, want)
		}
		if got, want := fmt.Sprint(outcome), "map[-2:-2 -1:-1 3:<nil> 4:<nil>]"; got != want {
			t.Errorf("the calls panicked with %v, want %v", got, want)
		}
	})
}

func TestPanicAndGoexitOfALeaderAloneLetOthersGoOn(t *testing.T) {
	commits := 0
	g := NewGroup[int]()
	if r := recovered(func() { g.alone(func() { panic("no") }) }); r != "no" {
		t.Errorf("the leader panicked with %v", r)
	}
	var gone sync.WaitGroup
	gone.Go(func() { g.alone(runtime.Goexit) })
	gone.Wait()
	g.do(1, func([]int) { commits++ })
	if commits != 1 {
		t.Error("no commit after a panic of a leader alone")
	}
}

func TestUncontendedEnterAllocatesNothing(t *testing.T) {
	for _, linger := range []bool{false, true} {
		g := NewGroup[*int]()
		g.SetLinger(linger)
		m := new(int)
		if got := testing.AllocsPerRun(1000, func() { g.do(m, func([]*int) {}) }); got != 0 {
			t.Errorf("linger=%v: %v allocations", linger, got)
		}
	}
}

func TestGroupKeepsNoMemberAlive(t *testing.T) {
	g := NewGroup[*[1 << 20]byte]()
	collected := make(chan struct{})
	func() {
		m := new([1 << 20]byte)
		runtime.AddCleanup(m, func(int) { close(collected) }, 0)
		g.do(m, func([]*[1 << 20]byte) {})
	}()
	for {
		runtime.GC()
		select {
		case <-collected:
			runtime.KeepAlive(g)
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func TestLingerLimit(t *testing.T) {
	ended := time.Unix(1000, 0)
	for _, test := range []struct {
		name    string
		company int
		took    time.Duration
		pause   time.Duration
		want    time.Duration
	}{
		{"a lone writer", 1, 200 * time.Microsecond, 0, 0},
		{"the first commit", 0, 0, time.Hour, 0},
		{"company", 2, 200 * time.Microsecond, 0, 50 * time.Microsecond},
		{"company after a slow commit", 16, 10 * time.Millisecond, 0, lingerMost},
		{"company after a short pause", 16, 200 * time.Microsecond, 50 * time.Microsecond, 50 * time.Microsecond},
		{"company after a long pause", 16, 200 * time.Microsecond, 51 * time.Microsecond, 0},
	} {
		l := linger{began: ended.Add(-test.took)}
		l.committed(test.company, 0, ended)
		if got := l.limit(ended.Add(test.pause)); got != test.want {
			t.Errorf("%s: limit %v, want %v", test.name, got, test.want)
		}
	}
}

func TestLingerBacksOffWhenInVain(t *testing.T) {
	ended := time.Unix(1000, 0)
	l := linger{began: ended.Add(-200 * time.Microsecond)}
	l.committed(2, 2, ended)
	skips := func() (n int) {
		for l.limit(ended) == 0 {
			n++
		}
		return n
	}
	for _, want := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024} {
		l.waited(51*time.Microsecond, 50*time.Microsecond)
		if got := skips(); got != want {
			t.Fatalf("%d commits without a wait, want %d", got, want)
		}
	}
	l.waited(5*time.Microsecond, 50*time.Microsecond)
	if got := skips(); got != 0 {
		t.Errorf("%d commits without a wait after a good one", got)
	}
	l.waited(51*time.Microsecond, 50*time.Microsecond)
	if got := skips(); got != 1 {
		t.Errorf("%d commits without a wait after the first bad one", got)
	}
}

// In a synctest bubble the clock stands still while any goroutine runs.
func TestLingerEndsThoughTheClockStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[int]()
		commit := func([]int) { time.Sleep(time.Millisecond) }
		g.SetLinger(true)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { g.do(1, commit) })
		}
		all.Wait()
		g.do(2, commit) // the company it waits for never comes
	})
}
