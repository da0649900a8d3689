package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// watchBits looks at the bits of the keys' records until done is closed: whatever the index points
// to is alive by its bit, unless the index has changed meanwhile. It returns how often it looked.
func watchBits(t *testing.T, s *Store, keys [][]byte, done <-chan struct{}) (looks int) {
	set := s.catalog.Set()
	for ; ; looks++ {
		select {
		case <-done:
			return looks
		default:
		}
		fp := s.hasher.Fingerprint(keys[looks%len(keys)])
		loc := set.Keys.Get(fp)
		if loc == index.NoLocation {
			continue
		}
		f := s.catalog.Set().File(loc)
		if f != nil && !f.Alive.Test(loc.Offset()) && set.Keys.Get(fp) == loc {
			t.Errorf("the index points to offset %d of %s, and the record there is dead by its bit", loc.Offset(), segment.FileName(f.ID))
			return looks
		}
	}
}

// Whatever the index points to is alive by its bit, at every moment of writes and compactions.
func TestBitsAreSetWhileTheIndexHasTheRecord(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	var keys [][]byte
	for i := range 64 {
		keys = append(keys, fmt.Append(nil, "key-", i))
		put(t, s, string(keys[i]), "first")
	}
	done, looked := make(chan struct{}), make(chan int)
	go func() { looked <- watchBits(t, s, keys, done) }()
	for round := range 300 {
		var batch Batch
		for i, key := range keys {
			switch {
			case round%5 == 4 && i%7 == 0:
				batch.Delete(key)
			case round%2 == 0:
				batch.Put(key, fmt.Append(nil, round))
			default:
				put(t, s, string(key), fmt.Sprint(round))
			}
		}
		if err := s.Write(&batch); err != nil {
			t.Fatal(err)
		}
		if round%10 == 0 {
			compactAll(t, s)
		}
	}
	close(done)
	if n := <-looked; n < 1000 {
		t.Logf("only %d looks", n)
	}
	checkAccounts(t, s)
}

// Whoever loses a compare-and-swap, or is replaced while others load, is dead by its bit.
func TestBitsOfLosersAreClear(t *testing.T) {
	for _, phase := range []string{"copied", "logged", "edited", "shown"} {
		var s *Store
		raced := false
		s = open(t, "/store", manualInMemory(func(now string) {
			if now == phase && !raced {
				raced = true
				churn(t, s, 3)
			}
		}))
		fillWithChurn(t, s, smallSize)
		churn(t, s, 2)
		compactAll(t, s) // checks the bits
		if !raced {
			t.Errorf("there was no phase %q", phase)
		}
		closeStore(t, s)
	}
}

// The store finds the same bits when it is opened again, with what had expired, and after a kill.
func TestBitsAfterOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "", "") // the smallest record, and its neighbours
	put(t, s, "a", "")
	fillWithChurn(t, s, smallSize)
	for round := 2; round < 8; round++ {
		churn(t, s, round)
		put(t, s, "", "")
	}
	checkAccounts(t, s)
	after := open(t, killed(t, s, dir), byHand())
	checkAccounts(t, after)
	closeStore(t, s)
	s = open(t, dir, byHand())
	checkAccounts(t, s)
	want, bits := 0, 0
	for range s.Keys() {
		want++
	}
	for _, f := range s.catalog.Set().Order {
		bits += f.Alive.Count()
	}
	if bits != want {
		t.Errorf("%d bits are set for %d keys", bits, want)
	}
}

// A reader that has seen a write and then begins a Range is not shown what the write replaced, even
// if the write is still being published.
func TestRangeBesideAWriteThatAReadHasSeen(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "before")
	put(t, s, "other", "value")
	old, published := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("key"))), s.log.Published.Load()
	put(t, s, "key", "after")
	f := s.catalog.Set().File(old)
	f.Alive.Set(old.Offset()) // as if the leader had yet to clear it
	s.log.Published.Store(published)
	var shown []string
	err := s.Range(func(key, value []byte) error {
		shown = append(shown, string(value))
		return nil
	})
	if err != nil || !slices.Equal(shown, []string{"value"}) {
		t.Errorf("Range shows %q: %v", shown, err)
	}
	f.Alive.Clear(old.Offset())
	s.log.Published.Store(s.log.Written.Load())
}

// Range shows a pair once, with its latest value, if it was overwritten in any phase of a compaction,
// before or after the compaction moved it.
func TestRangeOfWhatIsOverwrittenDuringACompaction(t *testing.T) {
	for _, when := range []string{"chosen", "copied", "edited", "shown", "moved", "retired"} {
		var s *Store
		met := false
		s = open(t, "/store", manualInMemory(func(phase string) {
			if phase != when {
				return
			}
			met = true
			churn(t, s, 3)
			shown := map[string]string{}
			err := s.Range(func(key, value []byte) error {
				if was, twice := shown[string(key)]; twice {
					t.Errorf("%s: %s is shown with %q and with %q", phase, key, was, value)
				}
				shown[string(key)] = string(value)
				return nil
			})
			if err != nil || len(shown) != s.Len() {
				t.Errorf("%s: %d of %d pairs are shown: %v", phase, len(shown), s.Len(), err)
			}
			for key, value := range shown {
				wantValue(t, s, key, value)
			}
		}))
		fillWithChurn(t, s, smallSize)
		churn(t, s, 2)
		compactAll(t, s)
		if !met {
			t.Errorf("there was no phase %q", when)
		}
		closeStore(t, s)
	}
}

// If a dead record's size is rotten, a live one behind it could be passed over. Range and
// compaction then verify what they passed, and report damage.
func TestRottenSizeOfADeadRecord(t *testing.T) {
	const deads = 4
	for n := range deads {
		for more := byte(8); more <= 120; more += 8 {
			dir := t.TempDir()
			s := open(t, dir, byHand())
			put(t, s, "first", "stays")
			f := s.catalog.Set().Order[0]
			var dead [deads]int64
			for i := range dead {
				dead[i] = f.Limit()
				put(t, s, "changes", "a value of some length")
			}
			put(t, s, "alive", "stays as well")
			put(t, s, "changes", "the last")
			fill(t, s, 0, 100, 100) // the first file is sealed
			const valueSizeAt = 16
			at := dead[n] + valueSizeAt
			poke(t, filepath.Join(dir, segment.FileName(f.ID)), at, f.Memory()[at]+more)
			shown := map[string]bool{}
			err := s.Range(func(key, _ []byte) error { shown[string(key)] = true; return nil })
			if !errors.Is(err, ErrCorrupt) && !shown["alive"] {
				t.Errorf("record %d, %d bytes more: Range passes over a live record: %v", n, more, err)
			}
			if err := s.Compact(context.Background()); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("record %d, %d bytes more: Compact: %v", n, more, err)
			}
			wantValue(t, s, "alive", "stays as well")
			closeStore(t, s)
		}
	}
}

// Range finds what follows many dead records without reading them: they are rotten here.
func TestRangeJumpsOverDeadRecords(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 1 << 20, Compaction: Compaction{Disabled: true}})
	put(t, s, "first", "stays")
	dead := s.catalog.Set().Order[0].Limit()
	fill(t, s, 0, 2000, 100)
	end := s.catalog.Set().Order[0].Limit()
	put(t, s, "last", "stays")
	fill(t, s, 0, 2000, 100)
	f := s.catalog.Set().Order[0]
	for at := dead; at < end-segment.RecordHeaderSize; at += 64 {
		poke(t, filepath.Join(dir, segment.FileName(f.ID)), at, 0xff)
	}
	var shown []string
	err := s.Range(func(key, _ []byte) error { shown = append(shown, string(key)); return nil })
	if err != nil || len(shown) != 2002 || shown[0] != "first" || shown[1] != "last" {
		t.Errorf("Range shows %d pairs, first %q: %v", len(shown), shown[:min(2, len(shown))], err)
	}
}

// poke changes a byte of a file in place.
func poke(t *testing.T, path string, at int64, to byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{to}, at); err != nil {
		t.Fatal(err)
	}
}
