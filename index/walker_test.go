package index

import "testing"

// What the callback puts does not come, however much it is, and what was there comes once.
func TestRangeDoesNotFollowItsOwnPuts(t *testing.T) {
	for _, more := range []uint64{1, 10, 100} {
		d := New(Options{PageSlots: 8})
		const keys = 500
		for n := range uint64(keys) {
			d.Put(number(n), place(n))
		}
		next := uint64(keys)
		met := map[Fingerprint]int{}
		d.Range(func(fp Fingerprint, _ Location) bool {
			met[fp]++
			for range more {
				d.Put(number(next), place(next))
				next++
			}
			return true
		})
		if len(met) != keys || next != keys+keys*more {
			t.Errorf("%d puts for each: %d of %d keys came, with %d puts", more, len(met), keys, next-keys)
		}
		for fp, times := range met {
			if times != 1 {
				t.Errorf("%v came %d times", fp, times)
			}
		}
		if d.walkers.all.Load() != nil {
			t.Error("a walker is left behind")
		}
		checkPages(t, d)
	}
}

// More keys than a walker remembers come, once each at most; the walk ends all the same.
func TestRangeRemembersNoMoreThanItMay(t *testing.T) {
	d := New(Options{})
	d.Put(number(0), place(0))
	first := true
	met := map[Fingerprint]int{}
	d.Range(func(fp Fingerprint, _ Location) bool {
		if met[fp]++; first {
			first = false
			for n := uint64(1); n <= 2*minNotes; n++ {
				d.Put(number(n), place(n))
			}
			for _, w := range *d.walkers.all.Load() {
				if len(w.came) > minNotes {
					t.Errorf("it remembers %d keys", len(w.came))
				}
			}
		}
		return true
	})
	if met[number(0)] != 1 {
		t.Errorf("the key that was there came %d times", met[number(0)])
	}
	for fp, times := range met {
		if times != 1 {
			t.Fatalf("%v came %d times", fp, times)
		}
	}
}

// A key that goes and comes again while the walk has yet to reach it may be left out; one that
// is only given another location is not.
func TestRangeShowsWhatIsOnlyMoved(t *testing.T) {
	d := New(Options{PageSlots: 8})
	const keys = 500
	for n := range uint64(keys) {
		d.Put(number(n), place(n))
	}
	met := 0
	d.Range(func(Fingerprint, Location) bool {
		for n := range uint64(keys) {
			d.Put(number(n), place(n+uint64(met)+1))
		}
		met++
		return true
	})
	if met != keys {
		t.Errorf("%d of %d keys came", met, keys)
	}
}
