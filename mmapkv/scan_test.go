package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// scanned collects the keys that a Scan shows.
func scanned(t testing.TB, s *Store, o ScanOptions) (keys []string) {
	t.Helper()
	err := s.Scan(o, func(key, _ []byte) error { keys = append(keys, string(key)); return nil })
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return keys
}

// TestScanOfUnusualKeys: keys may be empty, as long as the limit, and of any bytes.
func TestScanOfUnusualKeys(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	longest := strings.Repeat("\xff", MaxKeySize)
	keys := []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\xff", "b", "\xfe\xff\xff", "\xff", longest[1:], longest}
	for i, n := range rand.Perm(len(keys)) {
		put(t, s, keys[n], fmt.Sprint(i))
	}
	if got := scanned(t, s, ScanOptions{}); !slices.Equal(got, keys) {
		t.Errorf("Scan shows %.10q", got)
	}
	slices.Reverse(keys)
	if got := scanned(t, s, ScanOptions{Reverse: true, KeysOnly: true}); !slices.Equal(got, keys) {
		t.Errorf("in reverse Scan shows %.10q", got)
	}
	for _, o := range []ScanOptions{{Prefix: []byte(longest)}, {From: []byte(longest)}} {
		if got := scanned(t, s, o); len(got) != 1 || got[0] != longest {
			t.Errorf("the longest key comes %d times", len(got))
		}
	}
	beyond := []byte(longest + "\xff")
	for _, o := range []ScanOptions{{Prefix: beyond}, {From: beyond}, {To: []byte{}}} {
		if got := scanned(t, s, o); len(got) != 0 {
			t.Errorf("%d keys come that are above all keys, or below", len(got))
		}
	}
}

func TestScanEndsWithTheCallbacksError(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 100, 50)
	mine := errors.New("mine")
	for _, c := range []struct{ returned, want error }{
		{mine, mine},
		{fs.SkipAll, nil},
		{fmt.Errorf("not quite: %w", fs.SkipAll), fs.SkipAll}, // as in fs.WalkDir
		{ErrCorrupt, ErrCorrupt},
		{fs.SkipDir, fs.SkipDir},
	} {
		for _, o := range []ScanOptions{{}, {KeysOnly: true}, {Reverse: true}} {
			for _, at := range []int{1, 2, 50, 100} {
				calls := 0
				err := s.Scan(o, func(_, _ []byte) error {
					if calls++; calls == at {
						return c.returned
					}
					return nil
				})
				if calls != at || !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%+v: %v at pair %d: Scan returns %v after %d calls", o, c.returned, at, err, calls)
				}
			}
		}
	}
	wantNothingHeld(t, s)
}

// TestScanDoesNotFollowItsOwnWrites: what the callback writes and deletes changes nothing.
// (bolt 620, bbolt 146 and 357: deletes under a cursor made it skip keys.)
func TestScanDoesNotFollowItsOwnWrites(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		s := open(t, t.TempDir(), tiny())
		fill(t, s, 0, 500, 40)
		shown := 0
		err := s.Scan(ScanOptions{Reverse: reverse}, func(key, value []byte) error {
			n := shown
			if reverse {
				n = 499 - shown
			}
			if wantKey, want := numbered(n, 40); string(key) != string(wantKey) || string(value) != string(want) {
				return fmt.Errorf("pair %d is %q, %q", shown, key, value)
			}
			shown++
			if err := s.Delete(key); err != nil {
				return err
			}
			next, _ := numbered(n+1, 0)
			return errors.Join(s.Put(append(next, '+'), nil), s.Put(append([]byte("A"), key...), nil))
		})
		if err != nil || shown != 500 {
			t.Errorf("reverse %v: %d pairs: %v", reverse, shown, err)
		}
		if left := scanned(t, s, ScanOptions{}); len(left) != 1000 {
			t.Errorf("reverse %v: then there are %d keys", reverse, len(left))
		}
	}
}

// TestScanBesideWriters: each key that is there throughout comes exactly once, in order, and with
// a value of the time at which the scan began: no older one, and none that was put later.
func TestScanBesideWriters(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	const keys, writers = 60, 3
	var done, begun [keys]atomic.Int64 // the round of the last Put that has ended, and of the last that began
	write := func(i int, round int64) {
		begun[i].Store(round)
		put(t, s, fmt.Sprintf("key-%02d", i), fmt.Sprintf("%d %s", round, strings.Repeat("x", 50)))
		done[i].Store(round)
	}
	for i := range keys {
		write(i, 1)
	}
	var stop atomic.Bool
	var writing sync.WaitGroup
	defer writing.Wait()
	defer stop.Store(true)
	for w := range writers {
		writing.Go(func() {
			for round := int64(2); !stop.Load(); round++ {
				for i := w; i < keys; i += writers {
					write(i, round)
					_ = s.Put(fmt.Appendf(nil, "passing-%d", i), []byte("by"))
					_ = s.Delete(fmt.Appendf(nil, "passing-%d", i))
				}
			}
		})
	}
	writing.Go(func() {
		for !stop.Load() {
			_ = s.Compact(context.Background())
		}
	})
	for n := 0; n < 150 || done[0].Load() < 30; n++ {
		var before [keys]int64
		for i := range keys {
			before[i] = done[i].Load()
		}
		shown := 0
		var after [keys]int64
		it, err := s.Iterator(ScanOptions{Prefix: []byte("key-"), Reverse: n%2 > 0})
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			after[i] = begun[i].Load()
		}
		for key, value := range it.Pairs() {
			i := shown
			if n%2 > 0 {
				i = keys - 1 - shown
			}
			var round int64
			if _, err := fmt.Sscan(string(value), &round); err != nil || string(key) != fmt.Sprintf("key-%02d", i) || round < before[i] || round > after[i] {
				t.Fatalf("pair %d is %q of round %d, begun between %d and %d: %v", shown, key, round, before[i], after[i], err)
			}
			shown++
		}
		if it.Err() != nil || shown != keys {
			t.Fatalf("%d pairs: %v", shown, it.Err())
		}
		it.Close()
	}
}

// TestScanIsOneMoment: batches are seen whole, and a later write never without an earlier one.
func TestScanIsOneMoment(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	const keys = 20
	var stop atomic.Bool
	var writing sync.WaitGroup
	write := func(round int) {
		var b Batch
		for i := range keys {
			b.Put(fmt.Appendf(nil, "batch-%02d", i), fmt.Append(nil, round))
		}
		put(t, s, "a", fmt.Sprint(round))
		if err := s.Write(&b); err != nil {
			t.Error(err)
		}
		put(t, s, "z", fmt.Sprint(round))
	}
	write(0)
	var reached atomic.Int64
	writing.Go(func() {
		for round := 1; !stop.Load(); round++ {
			write(round)
			reached.Store(int64(round))
		}
	})
	defer writing.Wait()
	defer stop.Store(true)
	for n := 0; n < 300 || reached.Load() < 100; n++ {
		rounds := map[string]int{}
		err := s.Scan(ScanOptions{}, func(key, value []byte) error {
			var round int
			_, err := fmt.Sscan(string(value), &round)
			rounds[strings.TrimRight(string(key), "0123456789")] = round
			if old, ok := rounds["batch-"]; ok && strings.HasPrefix(string(key), "batch-") && old != round {
				return fmt.Errorf("a batch of the rounds %d and %d", old, round)
			}
			return err
		})
		if err != nil || rounds["a"] < rounds["batch-"] || rounds["batch-"] < rounds["z"] || rounds["a"] > rounds["z"]+1 {
			t.Fatalf("rounds %v: %v", rounds, err)
		}
	}
}

// When a callback closes the store, it can still read what it was shown. The scan ends with
// ErrClosed, and holds nothing.
func TestScanWhoseCallbackClosesTheStore(t *testing.T) {
	for _, o := range []ScanOptions{{}, {KeysOnly: true}, {Reverse: true}} {
		s := open(t, t.TempDir(), byHand())
		fill(t, s, 0, 200, 100)
		calls := 0
		err := s.Scan(o, func(key, value []byte) error {
			calls++
			wantKey, want := clone(key), clone(value)
			closeStore(t, s)
			if segment.Held() == 0 {
				t.Error("no file is held for the callback")
			}
			if err := s.Scan(o, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("a Scan behind Close: %v", err)
			}
			if _, err := s.Iterator(o); !errors.Is(err, ErrClosed) {
				t.Errorf("an Iterator behind Close: %v", err)
			}
			if _, err := s.Size(key); !errors.Is(err, ErrClosed) {
				t.Errorf("Size behind Close: %v", err)
			}
			return errors.Join(unchanged(key, wantKey), unchanged(value, want))
		})
		if calls != 1 || !errors.Is(err, ErrClosed) {
			t.Errorf("%+v: %v after %d calls", o, err, calls)
		}
		waitFor(t, "the scan to let go of its files", func() bool { return segment.Held() == 0 })
	}
}

// A scan lets go of its files however its callback ends.
func TestScanWhoseCallbackDoesNotReturn(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 200, 100)
	mine := errors.New("mine")
	for name, o := range map[string]ScanOptions{"pairs": {}, "keys": {KeysOnly: true}} {
		func() {
			defer func() {
				if r := recover(); r != mine {
					t.Errorf("%s: recovered %v", name, r)
				}
			}()
			_ = s.Scan(o, func(_, _ []byte) error { panic(mine) })
		}()
		func() {
			defer func() {
				if _, ok := recover().(runtime.Error); !ok {
					t.Errorf("%s: a nil dereference of the callback did not come through", name)
				}
			}()
			_ = s.Scan(o, func(_, _ []byte) error { var p *int; *p = 1; return nil })
		}()
		done := make(chan bool)
		go func() {
			defer close(done)
			_ = s.Scan(o, func(_, _ []byte) error { runtime.Goexit(); return nil })
			t.Error("Scan returned")
		}()
		<-done
	}
	churn(t, s, 1)
	for i := range 200 {
		fill(t, s, i, i+1, 90)
	}
	compactAll(t, s)
	wantNothingHeld(t, s)
}

func TestSizeIsThatOfTheValue(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	for _, size := range []int{0, 1, 7, 8, 300, 50_000} {
		key, value := numbered(size, size)
		if err := s.Put(key, value); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Size(key); got != int64(size) || err != nil {
			t.Errorf("Size of %d bytes is %d, %v", size, got, err)
		}
	}
	if got, err := s.Size([]byte("absent")); got != 0 || !errors.Is(err, ErrNotFound) {
		t.Errorf("Size of an absent key is %d, %v", got, err)
	}
}
