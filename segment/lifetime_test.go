package segment

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestSegmentGoesWhenItIsRetired(t *testing.T) {
	for _, mapSize := range []int64{testMapSize, 0} {
		dir := newTestDir(t)
		held, bytes := Held(), HeldBytes()
		a := newTestActive(t, dir, mapSize)
		if Held() != held+1 || HeldBytes() != bytes+mapSize {
			t.Errorf("Held rose by %d, and HeldBytes by %d", Held()-held, HeldBytes()-bytes)
		}
		a.Retire()
		if !a.Released() || dir.open.Load() != 0 || Held() != held || HeldBytes() != bytes {
			t.Errorf("released %v, %d open, %d segments and %d bytes more held", a.Released(), dir.open.Load(), Held()-held, HeldBytes()-bytes)
		}
		a.Retire()
		if Held() != held {
			t.Error("the second Retire released the segment again")
		}
	}
}

// uses are the ways to use a segment. Each returns a function that ends the use, or nil if the segment
// refused.
var uses = map[string]func(s *Segment) (end func()){
	"a slot": func(s *Segment) func() {
		var p Pin
		if !p.Take(s) {
			return nil
		}
		return p.Release
	},
	"a count": func(s *Segment) func() {
		if !s.Acquire() {
			return nil
		}
		return s.Release
	},
	"a pin that found no slot": func(s *Segment) func() {
		defer takeAllSlots()()
		var p Pin
		if !p.Take(s) {
			return nil
		}
		if p.slot != nil {
			panic("there was a free slot")
		}
		return p.Release
	},
}

// takeAllSlots fills every slot, and returns a function that frees them.
func takeAllSlots() (free func()) {
	for i := range slots {
		slots[i].number.Store(^uint64(0))
	}
	return func() {
		for i := range slots {
			slots[i].number.Store(0)
		}
	}
}

func TestSegmentStaysWhileItIsUsed(t *testing.T) {
	for name, use := range uses {
		dir := newTestDir(t)
		a := newTestActive(t, dir, testMapSize)
		offset, size := put(t, a, 1, []byte("key"), []byte("value"))
		first, second := use(a.Segment), use(a.Segment)
		a.Retire()
		if use(a.Segment) != nil {
			t.Errorf("%s: a retired segment can be used", name)
		}
		first()
		if r, err := read(t, a.Segment, offset, size); err != nil || string(r.Value) != "value" || a.Released() {
			t.Errorf("%s: a segment in use has %q (%v), released %v", name, r.Value, err, a.Released())
		}
		second()
		wantReleased(t, a.Segment)
		if open := dir.open.Load(); open != 0 {
			t.Errorf("%s: %d files and mappings are open", name, open)
		}
	}
}

// wantReleased waits for the goroutine to which the last user left the release.
func wantReleased(t *testing.T, s *Segment) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !s.Released(); syncYield() {
		if time.Now().After(deadline) {
			t.Fatalf("the retired segment is unused, but is not released: %d holds", s.holds.Load())
		}
	}
}

func syncYield() {
	var wait sync.WaitGroup
	wait.Go(func() {})
	wait.Wait()
}

// A Pin that takes another segment releases the previous one.
func TestPinUsesOneSegment(t *testing.T) {
	dir := newTestDir(t)
	one := newTestActive(t, dir, 0)
	other := newTestActive(t, newTestDir(t), 0)
	var p Pin
	if !p.Take(one.Segment) || !p.Take(other.Segment) {
		t.Fatal("a segment cannot be used")
	}
	one.Retire()
	if !one.Released() {
		t.Error("the first segment is still in use")
	}
	if other.Retire(); other.Released() {
		t.Error("the second segment is gone while it is used")
	}
	p.Release()
	wantReleased(t, other.Segment)
}

// A refused Pin uses neither the refused segment nor the one that it used before.
func TestRefusedPinUsesNothing(t *testing.T) {
	one := newTestActive(t, newTestDir(t), 0)
	other := newTestActive(t, newTestDir(t), 0)
	other.Retire()
	var p Pin
	if !p.Take(one.Segment) || p.Take(other.Segment) {
		t.Fatal("a segment cannot be used, or a retired one can")
	}
	if one.Retire(); !one.Released() {
		t.Error("the Pin still uses the segment that it had before the refused one")
	}
	for i := range slots {
		if number := slots[i].number.Load(); number != 0 {
			t.Errorf("slot %d has %d", i, number)
		}
	}
	p.Release()
}

func TestErrorsOfTheReleaseAreCounted(t *testing.T) {
	dir := newTestDir(t)
	dir.refuse["unmap"], dir.refuse["close"] = syscall.EINVAL, syscall.EIO
	before := ReleaseErrors()
	newTestActive(t, dir, testMapSize).Retire()
	if got := ReleaseErrors() - before; got != 2 {
		t.Errorf("%d errors counted, want 2", got)
	}
}
