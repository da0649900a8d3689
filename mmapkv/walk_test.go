package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// Range and Keys show the store as far as it went when they began. They do not show
// what their own callbacks write.
func TestWalksDoNotFollowTheirOwnWrites(t *testing.T) {
	for _, counters := range []int{1, 10} {
		s := open(t, t.TempDir(), tiny())
		for i := range counters {
			put(t, s, fmt.Sprint("counter-", i), "0")
		}
		calls := 0
		err := s.Range(func(key, value []byte) error {
			if calls++; string(value) != "0" {
				t.Errorf("%s has %q, which was written meanwhile", key, value)
			}
			for range 3 {
				put(t, s, string(key), fmt.Sprint(calls))
			}
			return nil
		})
		if err != nil || calls != counters {
			t.Errorf("Range of %d counters calls back %d times: %v", counters, calls, err)
		}
		calls = 0
		for key := range s.Keys() {
			calls++
			for i := range 20 {
				put(t, s, fmt.Sprintf("%s-%d", key, i), "")
			}
			if calls > 1000 {
				break
			}
		}
		if calls != counters {
			t.Errorf("Keys of %d counters yields %d", counters, calls)
		}
	}
}

// If a Range begins after a write is in the log and before the index has it, it shows the
// key once.
func TestRangeBesideAWriteThatTheIndexDoesNotHave(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "before")
	keys, print, before := s.catalog.Set().Keys, s.hasher.Fingerprint([]byte("key")), s.log.Published.Load()
	old := keys.Get(print)
	put(t, s, "key", "after")
	written := keys.Put(print, old)
	s.catalog.Set().File(old).Alive.Set(old.Offset()) // it is cleared only after the index has the new one
	s.log.Published.Store(before)
	var shown []string
	err := s.Range(func(_, value []byte) error {
		shown = append(shown, string(value))
		keys.Put(print, written)
		s.catalog.Set().File(old).Alive.Clear(old.Offset())
		s.log.Published.Store(s.log.Written.Load())
		return nil
	})
	if err != nil || len(shown) != 1 || shown[0] != "before" {
		t.Errorf("Range shows %q: %v", shown, err)
	}
}

// walkings start a walk that shows all pairs and calls pause after the first one.
var walkings = map[string]func(s *Store, add func(key string), pause func()) error{
	"Range": func(s *Store, add func(string), pause func()) error {
		return s.Range(func(key, value []byte) error {
			if add(string(key)); pause != nil {
				pause()
				pause = nil
			}
			return nil
		})
	},
	"Keys": func(s *Store, add func(string), pause func()) error {
		for key := range s.Keys() {
			if add(string(key)); pause != nil {
				pause()
				pause = nil
			}
		}
		return nil
	},
}

// If the store is closed during a walk, the walk still shows everything. It holds the
// files until it ends, and no longer.
func TestWalksRunOnWhenTheStoreIsClosed(t *testing.T) {
	const keys = 300
	for name, walk := range walkings {
		for _, how := range []string{"to its end", "until it panics"} {
			s := open(t, t.TempDir(), byHand())
			fill(t, s, 0, keys, 100)
			for i := range keys {
				if i%3 > 0 {
					fill(t, s, i, i+1, 100)
				}
			}
			var before int64
			times := map[string]int{}
			panics := how != "to its end"
			func() {
				defer func() { _ = recover() }()
				err := walk(s, func(key string) {
					if times[key]++; panics && len(times) == keys/2 {
						panic("enough")
					}
				}, func() {
					before = int64(len(s.Stats().Segments))
					closeStore(t, s)
					if held := segment.Held(); held < before-1 { // Close removes the prepared, empty file
						t.Errorf("%s: %d of %d segments are held while it runs", name, held, before)
					}
					if err := walk(s, func(string) { t.Errorf("%s begins behind Close", name) }, nil); err != nil && !errors.Is(err, ErrClosed) {
						t.Errorf("%s behind Close: %v", name, err)
					}
				})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}()
			if !panics && len(times) != keys {
				t.Errorf("%s: %d of %d keys came", name, len(times), keys)
			}
			for key, n := range times {
				if n != 1 {
					t.Errorf("%s: %s came %d times", name, key, n)
				}
			}
			waitFor(t, fmt.Sprintf("%s %s to let go of its files", name, how), func() bool { return segment.Held() == 0 })
		}
	}
}

// A parked walk holds only the file that it is in. A walk that has ended early holds
// none.
func TestParkedWalksHoldOneFile(t *testing.T) {
	for name, walk := range walkings {
		s := open(t, t.TempDir(), byHand())
		fillWithChurn(t, s, largeSize)
		churn(t, s, 2)
		err := walk(s, func(string) {}, func() {
			for round := 3; round < 13; round++ {
				churn(t, s, round)
				compactAll(t, s)
			}
			stats := s.Stats()
			if held := segment.Held() - int64(len(stats.Segments)); held > 1 {
				t.Errorf("%s: %d deleted files are held, %d bytes", name, held, stats.HeldBytes)
			}
			if wait := stats.WriteStall; wait > 0 {
				t.Errorf("%s: writers waited %v", name, wait)
			}
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantNothingHeld(t, s)
		closeStore(t, s)
	}
}

// Over many dead records Range jumps to the next live one. It shows the same pairs as if it went
// from record to record.
func TestRangeOfAFewAmongManyDeleted(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	const keys, kept = 5000, 7
	fill(t, s, 0, keys, 20)
	for i := range keys {
		if i%(keys/kept) != 3 {
			key, _ := numbered(i, 20)
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if wrong := s.catalog.FindWrongBits(); wrong != "" {
		t.Error(wrong)
	}
	shown := map[string]bool{}
	err := s.Range(func(key, value []byte) error {
		shown[string(key)] = true
		if len(shown) == 2 {
			compactAll(t, s) // moves the pairs that are still to come to another file
		}
		return nil
	})
	if err != nil || len(shown) != s.Len() {
		t.Errorf("Range shows %d of %d pairs: %v", len(shown), s.Len(), err)
	}
}

// Range leaves out no pair that a compaction moves meanwhile.
func TestRangeInEachPhaseOfACompaction(t *testing.T) {
	var s *Store
	shown := map[string]map[string]int{}
	s = open(t, "/store", manualInMemory(func(phase string) {
		shown[phase] = map[string]int{}
		if err := s.Range(func(key, _ []byte) error { shown[phase][string(key)]++; return nil }); err != nil {
			t.Errorf("%s: %v", phase, err)
		}
	}))
	fillWithChurn(t, s, smallSize)
	for round := 2; round < 60; round++ {
		churn(t, s, round)
	}
	want := s.Len()
	compactAll(t, s)
	for phase, keys := range shown {
		if len(keys) != want {
			t.Errorf("%s: Range shows %d of %d pairs", phase, len(keys), want)
		}
	}
	if len(shown) < 5 {
		t.Errorf("only the phases %v were seen", shown)
	}
}

// A Range holds the file that it is in, even if nobody else does, and then releases it.
func TestWalkHoldsTheFileThatItIsIn(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fillWithChurn(t, s, smallSize)
	parked := false
	err := s.Range(func(key, value []byte) error {
		if parked {
			return nil
		}
		parked = true
		wantKey, want := bytes.Clone(key), bytes.Clone(value)
		before := fileOf(s, key)
		churn(t, s, 2)
		compactAll(t, s)
		if fileOf(s, wantKey) == before {
			t.Error("compaction did not move the pair")
		}
		if held := segment.Held() - int64(len(s.Stats().Segments)); held != 1 {
			t.Errorf("%d files are held beside those that are listed; want the one that Range is in", held)
		}
		return errors.Join(unchanged(key, wantKey), unchanged(value, want))
	})
	if err != nil || !parked {
		t.Errorf("parked %v: %v", parked, err)
	}
	wantNothingHeld(t, s)
}
