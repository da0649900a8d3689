package nap

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNapLastsAtLeastItsTime(t *testing.T) {
	n := New()
	defer n.Close()
	for range 50 {
		began := time.Now()
		n.nap(200 * time.Microsecond)
		if took := time.Since(began); took < 200*time.Microsecond {
			t.Fatalf("a nap of 200 µs ended after %v", took)
		}
	}
}

// A closed Napper can nap again.
func TestNapBehindClose(t *testing.T) {
	n := New()
	for range 3 {
		began := time.Now()
		n.nap(2 * time.Millisecond)
		if took := time.Since(began); took < 2*time.Millisecond {
			t.Errorf("a nap of 2 ms ended after %v", took)
		}
		n.Close()
		n.Close()
	}
}

// The load is busy only while every processor is taken.
func TestLoadIsOfAllProcessors(t *testing.T) {
	processors := 3
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	n := New()
	defer n.Close()
	for others := range processors {
		var stop atomic.Bool
		var spinning sync.WaitGroup
		for range others {
			spinning.Go(func() {
				for !stop.Load() {
				}
			})
		}
		want := free
		if others == processors-1 {
			want = busy
		}
		// Other goroutines may use a processor for a moment, and the spinning ones may not run
		// yet.
		if !becomes(n, false, want) {
			t.Errorf("with %d of %d processors taken the load is never %d", others+1, processors, want)
		}
		stop.Store(true)
		spinning.Wait()
	}
}

// becomes reports whether the load reaches the wanted one within a minute.
func becomes(n *Napper, foreground bool, want load) bool {
	for began := time.Now(); n.look(foreground) != want; runtime.Gosched() {
		if time.Since(began) > time.Minute {
			return false
		}
	}
	return true
}

// With one processor, another goroutine gets it far more often than by the runtime's preemption
// every 10 ms.
func TestStepAsideLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	n := New()
	defer n.Close()
	var ran, stop atomic.Int64
	var other sync.WaitGroup
	other.Go(func() {
		for stop.Load() == 0 {
			ran.Add(1)
			runtime.Gosched()
		}
	})
	defer other.Wait()
	defer stop.Store(1)
	// A busy machine may delay one stretch of work, but not all.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		var worked time.Duration
		turns := 0
		for worked < 50*time.Millisecond {
			before, began := ran.Load(), time.Now()
			for time.Since(began) < slice/2 {
			}
			worked += time.Since(began)
			if n.StepAside(false); ran.Load() != before {
				turns++
			}
		}
		if turns > int(worked/(5*time.Millisecond)) {
			return
		}
	}
	t.Error("no other goroutine got the processor")
}

func BenchmarkNap20µs(b *testing.B) {
	n := New()
	defer n.Close()
	for b.Loop() {
		n.nap(aside)
	}
}

func BenchmarkLook(b *testing.B) {
	n := New()
	defer n.Close()
	for b.Loop() {
		n.look(false)
	}
}
