package index

import "testing"

// Range does not yield what the callback puts, however much that is, and yields every earlier key once.
func TestRangeDoesNotFollowItsOwnPuts(t *testing.T) {
	for _, more := range []uint64{1, 10, 100} {
		d := New(Options{PageSlots: 8})
		const keys = 500
		for n := range uint64(keys) {
			d.Put(fpOf(n), locationOf(n))
		}
		next := uint64(keys)
		met := map[Fingerprint]int{}
		d.Range(func(fp Fingerprint, _ Location) bool {
			met[fp]++
			for range more {
				d.Put(fpOf(next), locationOf(next))
				next++
			}
			return true
		})
		if len(met) != keys || next != keys+keys*more {
			t.Errorf("%d puts per key: Range yielded %d of %d keys, with %d puts", more, len(met), keys, next-keys)
		}
		for fp, times := range met {
			if times != 1 {
				t.Errorf("Range yielded %v %d times", fp, times)
			}
		}
		if d.walkers.count.Load() != 0 || d.walkers.inserted != nil {
			t.Error("notes are left after the last Range")
		}
		checkPages(t, d)
	}
}

// If more keys are inserted than a walk notes, Range yields each of them at most once, and still ends.
func TestRangeRemembersNoMoreThanItMay(t *testing.T) {
	d := New(Options{})
	d.Put(fpOf(0), locationOf(0))
	first := true
	met := map[Fingerprint]int{}
	d.Range(func(fp Fingerprint, _ Location) bool {
		if met[fp]++; first {
			first = false
			for n := uint64(1); n <= 2*minNotes; n++ {
				d.Put(fpOf(n), locationOf(n))
			}
			if noted := len(d.walkers.inserted); noted > minNotes {
				t.Errorf("%d keys are noted", noted)
			}
		}
		return true
	})
	if met[fpOf(0)] != 1 {
		t.Errorf("Range yielded the first key %d times", met[fpOf(0)])
	}
	for fp, times := range met {
		if times != 1 {
			t.Fatalf("Range yielded %v %d times", fp, times)
		}
	}
}

// Range may leave out a key that is deleted and inserted again before the walk reaches it, but not a
// key that only gets another location.
func TestRangeShowsWhatIsOnlyMoved(t *testing.T) {
	d := New(Options{PageSlots: 8})
	const keys = 500
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(n))
	}
	met := 0
	d.Range(func(Fingerprint, Location) bool {
		for n := range uint64(keys) {
			d.Put(fpOf(n), locationOf(n+uint64(met)+1))
		}
		met++
		return true
	})
	if met != keys {
		t.Errorf("Range yielded %d of %d keys", met, keys)
	}
}

// However many Ranges are in flight, an inserted key is noted once, and each Range leaves out just
// the keys inserted since it began.
func TestRangesShareTheirNotes(t *testing.T) {
	d := New(Options{PageSlots: 8})
	const ranges, each = 20, 50
	met := make([]int, ranges)
	next := uint64(0)
	put := func() {
		for range each {
			d.Put(fpOf(next), locationOf(next))
			next++
		}
	}
	var begin func(i int)
	begin = func(i int) {
		if put(); i == ranges {
			if noted := len(d.walkers.inserted); noted != ranges*each {
				t.Errorf("%d Ranges noted %d keys, want %d", ranges, noted, ranges*each)
			}
			return
		}
		d.Range(func(Fingerprint, Location) bool {
			if met[i]++; met[i] == 1 {
				begin(i + 1)
			}
			return true
		})
	}
	begin(0)
	for i, keys := range met {
		if keys != (i+1)*each {
			t.Errorf("Range %d yielded %d keys, but %d existed when it began", i, keys, (i+1)*each)
		}
	}
}
