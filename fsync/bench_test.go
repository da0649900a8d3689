package fsync

import (
	"sync"
	"testing"
	"time"
)

func BenchmarkDoUncontended(b *testing.B) {
	g := NewGroup(func([]int) {})
	for i := 0; b.Loop(); i++ {
		g.Do(i)
	}
}

func BenchmarkDoUncontendedLingering(b *testing.B) {
	g := NewGroup(func([]int) {})
	g.SetLinger(true)
	for i := 0; b.Loop(); i++ {
		g.Do(i)
	}
}

func BenchmarkDoContended(b *testing.B) {
	const writers = 16
	commits := 0
	g := NewGroup(func([]int) {
		commits++
		for began := time.Now(); time.Since(began) < time.Microsecond; {
		}
	})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < b.N; i += writers {
				g.Do(i)
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
