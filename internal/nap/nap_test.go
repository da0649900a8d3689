package nap

import (
	"testing"
	"time"
)

func TestNapLastsAtLeastItsTime(t *testing.T) {
	n := New()
	defer n.Close()
	for range 50 {
		began := time.Now()
		n.Nap(200 * time.Microsecond)
		if took := time.Since(began); took < 200*time.Microsecond {
			t.Fatalf("a nap of 200 µs ended after %v", took)
		}
	}
}

func TestNapWithoutTimer(t *testing.T) {
	n := &Napper{}
	began := time.Now()
	n.Nap(2 * time.Millisecond)
	if took := time.Since(began); took < 2*time.Millisecond {
		t.Errorf("a nap of 2 ms ended after %v", took)
	}
	n.Close()
}

func BenchmarkNap30µs(b *testing.B) {
	n := New()
	defer n.Close()
	for b.Loop() {
		n.Nap(30 * time.Microsecond)
	}
}
