package fsync

import (
	"sync"
	"testing"
	"time"
)

// enterAndLeave is a write whose commit takes no time.
func enterAndLeave(g *Group[int], m int) {
	if _, lead := g.Enter(m); lead {
		defer g.Leave()
	}
}

func BenchmarkEnterUncontended(b *testing.B) {
	g := NewGroup[int]()
	for i := 0; b.Loop(); i++ {
		enterAndLeave(g, i)
	}
}

func BenchmarkEnterUncontendedLingering(b *testing.B) {
	g := NewGroup[int]()
	g.SetLinger(true)
	for i := 0; b.Loop(); i++ {
		enterAndLeave(g, i)
	}
}

func BenchmarkEnterContended(b *testing.B) {
	const writers = 16
	commits := 0
	g := NewGroup[int]()
	commit := func([]int) {
		commits++
		for began := time.Now(); time.Since(began) < time.Microsecond; {
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < b.N; i += writers {
				g.do(i, commit)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/float64(commits), "members/commit")
}

func BenchmarkWritten(b *testing.B) {
	s := NewSyncer(Every(time.Hour), func() (uint64, error) { return 0, nil }, time.Now)
	for seq := uint64(1); b.Loop(); seq++ {
		s.Written(seq)
	}
}

func BenchmarkThrottle(b *testing.B) {
	s := NewSyncer(Every(time.Hour), func() (uint64, error) { return 0, nil }, time.Now)
	s.Written(1)
	for b.Loop() {
		s.Throttle()
	}
}
