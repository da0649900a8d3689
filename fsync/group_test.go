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

// gate is a Group whose commits report themselves and then wait to be let on.
type gate struct {
	*Group[int]
	entered chan []int
	leave   chan struct{}
}

func newGate() *gate {
	g := &gate{entered: make(chan []int), leave: make(chan struct{})}
	g.Group = NewGroup(func(members []int) {
		g.entered <- slices.Clone(members)
		<-g.leave
	})
	return g
}

// expect waits for the next commit and checks its members.
func (g *gate) expect(t *testing.T, members ...int) {
	t.Helper()
	if got := <-g.entered; !slices.Equal(got, members) {
		t.Errorf("commit of %v, want %v", got, members)
	}
}

func TestDoCommitsInTheOrderOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var returned []int
		var mu sync.Mutex
		do := func(m int) {
			go func() {
				g.Do(m)
				mu.Lock()
				defer mu.Unlock()
				returned = append(returned, m)
			}()
			synctest.Wait()
		}
		again := make(chan struct{})
		go func() {
			g.Do(1)
			<-again
			g.Do(6)
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

func TestExclusiveTakesItsTurnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		exclusive := make(chan struct{})
		start := func(f func()) { go f(); synctest.Wait() }

		start(func() { g.Exclusive(func() { <-exclusive }) })
		start(func() { g.Do(1) })
		start(func() { g.Do(2) })
		start(func() { g.Exclusive(func() { <-exclusive }) })
		start(func() { g.Do(3) })
		select {
		case got := <-g.entered:
			t.Errorf("commit of %v beside Exclusive", got)
		default:
		}
		exclusive <- struct{}{}
		g.expect(t, 1, 2)
		select {
		case exclusive <- struct{}{}:
			t.Error("Exclusive ran beside a commit")
		default:
		}
		g.leave <- struct{}{}
		exclusive <- struct{}{}
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
			var committed []*member // no lock: the race detector sees two at a time
			enter := func() {
				if inside.Add(1) != 1 {
					t.Error("two commits at a time")
				}
			}
			g := NewGroup(func(members []*member) {
				enter()
				for _, m := range members {
					m.commits.Add(1)
					committed = append(committed, m)
				}
				if rand.IntN(8) == 0 {
					runtime.Gosched()
				}
				inside.Add(-1)
			})
			g.SetLinger(linger)
			exclusives := 0
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for n := range each {
						if rand.IntN(50) == 0 {
							g.Exclusive(func() {
								enter()
								exclusives++
								inside.Add(-1)
							})
						}
						m := &member{writer: w, number: n}
						g.Do(m)
						if got := m.commits.Load(); got != 1 {
							t.Errorf("%d commits of a member when Do returned", got)
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

// recovered is what f panics with.
func recovered(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}

func TestPanickingCommitLetsOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var commits [][]int
		g := NewGroup(func(members []int) {
			commits = append(commits, slices.Clone(members))
			<-hold
			if members[0] < 0 {
				panic(members[0])
			}
		})
		outcome := make(map[int]any)
		var mu sync.Mutex
		do := func(m int) {
			go func() {
				r := recovered(func() { g.Do(m) })
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
		g.Do(5)

		if got, want := fmt.Sprint(commits), "[[-1] [-2 3] [4] [5]]"; got != want {
			t.Errorf("commits %v, want %v", got, want)
		}
		if got, want := fmt.Sprint(outcome), "map[-2:-2 -1:-1 3:<nil> 4:<nil>]"; got != want {
			t.Errorf("the calls panicked with %v, want %v", got, want)
		}
	})
}

func TestPanicAndGoexitInExclusiveLetOthersGoOn(t *testing.T) {
	commits := 0
	g := NewGroup(func([]int) { commits++ })
	if r := recovered(func() { g.Exclusive(func() { panic("no") }) }); r != "no" {
		t.Errorf("Exclusive panicked with %v", r)
	}
	var gone sync.WaitGroup
	gone.Go(func() { g.Exclusive(runtime.Goexit) })
	gone.Wait()
	g.Do(1)
	if commits != 1 {
		t.Error("no commit after a panic in Exclusive")
	}
}

func TestUncontendedDoAllocatesNothing(t *testing.T) {
	for _, linger := range []bool{false, true} {
		g := NewGroup(func([]*int) {})
		g.SetLinger(linger)
		m := new(int)
		if got := testing.AllocsPerRun(1000, func() { g.Do(m) }); got != 0 {
			t.Errorf("linger=%v: %v allocations", linger, got)
		}
	}
}

func TestGroupKeepsNoMemberAlive(t *testing.T) {
	g := NewGroup(func([]*[1 << 20]byte) {})
	collected := make(chan struct{})
	func() {
		m := new([1 << 20]byte)
		runtime.AddCleanup(m, func(int) { close(collected) }, 0)
		g.Do(m)
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

// In a bubble the clock stands still while anybody runs.
func TestLingerEndsThoughTheClockStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(func([]int) { time.Sleep(time.Millisecond) })
		g.SetLinger(true)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { g.Do(1) })
		}
		all.Wait()
		g.Do(2) // its company does not come
	})
}
