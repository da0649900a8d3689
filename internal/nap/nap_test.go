package nap

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
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

func TestNapWithoutTimer(t *testing.T) {
	n := &Napper{}
	began := time.Now()
	n.nap(2 * time.Millisecond)
	if took := time.Since(began); took < 2*time.Millisecond {
		t.Errorf("a nap of 2 ms ended after %v", took)
	}
	n.Close()
}

// Only while every processor is taken is there anything to let go for.
func TestBusyWhenEveryProcessorIsTaken(t *testing.T) {
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
		// The rest of the process may be on a processor for a moment, or not yet.
		want, deadline := others == processors-1, time.Now().Add(time.Minute)
		for n.busy(false) != want && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		if got := n.busy(false); got != want && time.Now().After(deadline) {
			t.Errorf("with %d of %d processors taken busy is %v", others+1, processors, got)
		}
		stop.Store(true)
		spinning.Wait()
	}
}

// A goroutine in a system call for long leaves its processor to others, and so does
// not count for long; one that makes many of them does, where that is known.
func TestLongCallsAreNotBusy(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { syscall.Read(ends[0], make([]byte, 1)) })
	defer reading.Wait()
	defer syscall.Close(ends[0])
	defer syscall.Close(ends[1])
	n := New()
	defer n.Close()
	deadline := time.Now().Add(time.Minute)
	for range 2 * looksBack {
		n.busy(false)
		time.Sleep(time.Millisecond)
	}
	for n.busy(false) {
		if time.Now().After(deadline) {
			t.Fatal("a goroutine that waits in a system call keeps a processor busy for ever")
		}
		time.Sleep(time.Millisecond)
	}
	if !n.busy(true) {
		t.Error("with a known foreground the goroutine in the call does not count")
	}
}

// With one processor somebody else gets it far more often than the runtime's
// preemption, which comes every 10 ms, would see to.
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
	// A machine with much else to do may hold up one stretch of work, not all.
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
	t.Error("nobody else got the processor")
}

func BenchmarkNap20µs(b *testing.B) {
	n := New()
	defer n.Close()
	for b.Loop() {
		n.nap(aside)
	}
}

func BenchmarkBusy(b *testing.B) {
	n := New()
	defer n.Close()
	for b.Loop() {
		n.busy(false)
	}
}
