package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

func iterator(t testing.TB, s *Store, o ScanOptions) *Iterator {
	t.Helper()
	it, err := s.Iterator(o)
	if err != nil {
		t.Fatalf("Iterator: %v", err)
	}
	t.Cleanup(func() { it.Close() })
	return it
}

// TestIteratorMoves takes an Iterator over a, c and e, and a reversed one, through moves whose
// names are in a script. After each, the script says where it stands.
func TestIteratorMoves(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	for _, key := range []string{"a", "c", "e", "out of the bounds"} {
		put(t, s, key, "value of "+key)
	}
	const none = "-"
	for _, script := range []string{
		"Next a  Next c  Next e  Next -  Next -  Prev -  First a",
		"Prev e  Prev c  Prev a  Prev -  Prev -  Next -  Last e",
		"First a  Prev -  Next -  Last e  Next -  Prev -",
		"Last e  Prev c  Next e  Prev c  Prev a  Next c",
		"GE:c c  LT:c a  GE:d e  LT:d c  Next e  Prev c",
		"GE: a  LT: -  Next -  GE:f -  Prev -  LT:z e  GE:\x00 a",
		"LT:e c  Next e  Next -  LT:b a  Prev -  GE:e e",
		"reverse Next e  Next c  Prev e  Prev -  Next -  First a",
		"reverse Prev a  Prev c  Next a  Next -  Last e  Next c",
		"reverse First a  Next -  Last e  Prev -",
		"reverse GE:c c  Next a  Next -  LT:e c  Prev e",
	} {
		moves, reverse := strings.CutPrefix(script, "reverse ")
		it := iterator(t, s, ScanOptions{To: []byte("f"), Reverse: reverse})
		if it.Valid() || it.Key() != nil {
			t.Errorf("it starts at %q", it.Key())
		}
		for _, step := range strings.Split(moves, "  ") {
			at := strings.LastIndexByte(step, ' ')
			name, want := step[:at], step[at+1:]
			var ok bool
			if key, seek := strings.CutPrefix(name, "GE:"); seek {
				ok = it.SeekGE([]byte(key))
			} else if key, seek := strings.CutPrefix(name, "LT:"); seek {
				ok = it.SeekLT([]byte(key))
			} else {
				ok = map[string]func() bool{"First": it.First, "Last": it.Last, "Next": it.Next, "Prev": it.Prev}[name]()
			}
			value, _ := it.Value()
			if ok != (want != none) || it.Valid() != ok || ok && (string(it.Key()) != want || string(value) != "value of "+want) {
				t.Errorf("%q: %s leads to %v, %q with %q", script, name, ok, it.Key(), value)
				break
			}
		}
		if it.Err() != nil {
			t.Errorf("%q: %v", script, it.Err())
		}
	}
}

// An Iterator with KeysOnly has nil values, and still knows their sizes.
func TestIteratorOfKeysOnly(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "value")
	it := iterator(t, s, ScanOptions{KeysOnly: true})
	if err := it.View(func([]byte) error { return nil }); !errors.Is(err, ErrInvalid) {
		t.Errorf("View before the first move: %v", err)
	}
	for key, value := range it.Pairs() {
		if string(key) != "key" || value != nil || it.ValueSize() != 5 {
			t.Errorf("%q has %q of %d bytes", key, value, it.ValueSize())
		}
		err := it.View(func(value []byte) error {
			if value != nil {
				t.Errorf("View shows %q", value)
			}
			return errFake
		})
		if err != errFake {
			t.Errorf("View: %v", err)
		}
	}
	if it.Err() != nil {
		t.Error(it.Err())
	}
}

// After a break, Pairs goes on with the pair at which the loop ended.
func TestPairsGoOnWhereTheIteratorStands(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 100, 10)
	it := iterator(t, s, ScanOptions{})
	var keys []string
	for key := range it.Pairs() {
		if keys = append(keys, string(key)); len(keys) == 40 {
			break
		}
	}
	if string(it.Key()) != keys[39] {
		t.Errorf("it stands at %q", it.Key())
	}
	keys = keys[:39]
	for key := range it.Pairs() {
		keys = append(keys, string(key))
	}
	if !slices.Equal(keys, scanned(t, s, ScanOptions{})) || it.Err() != nil {
		t.Errorf("%d keys, %v", len(keys), it.Err())
	}
	for key := range it.Pairs() {
		t.Errorf("%q comes after the end", key)
	}
}

// TestIteratorOfAClosedStore: Close ends open iterators at once, and lets go of their files, except
// for what a callback is reading.
func TestIteratorOfAClosedStore(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 300, 50)
	fresh, moved, over, viewing := iterator(t, s, ScanOptions{}), iterator(t, s, ScanOptions{}), iterator(t, s, ScanOptions{}), iterator(t, s, ScanOptions{})
	moved.Next()
	key := clone(moved.Key())
	over.Last()
	over.Next()
	viewing.Next()
	err := viewing.View(func(value []byte) error {
		want := clone(value)
		closeStore(t, s)
		if segment.Held() == 0 {
			t.Error("the callback's file is not held")
		}
		if viewing.Next() || !errors.Is(viewing.Err(), ErrClosed) {
			t.Errorf("in the callback: %v", viewing.Err())
		}
		return unchanged(value, want)
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := moved.Value(); !errors.Is(err, ErrClosed) {
		t.Fatalf("Value: %v", err)
	}
	waitFor(t, "the files to be let go", func() bool { return segment.Held() == 0 })
	if err := unchanged(moved.Key(), key); err != nil {
		t.Errorf("the key: %v", err)
	}
	for name, it := range map[string]*Iterator{"fresh": fresh, "moved": moved, "over": over, "viewing": viewing} {
		moves := []func() bool{it.Next, it.Prev, it.First, it.Last, func() bool { return it.SeekGE(nil) }, func() bool { return it.SeekLT([]byte("z")) }}
		for i, move := range moves {
			if move() || it.Valid() || !errors.Is(it.Err(), ErrClosed) {
				t.Errorf("%s: move %d: %v", name, i, it.Err())
			}
		}
		if err := it.View(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: View: %v", name, err)
		}
		if err := it.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		if it.Next() || !errors.Is(it.Err(), ErrClosed) {
			t.Errorf("%s: the first error does not stick: %v", name, it.Err())
		}
	}
}

// TestClosedIteratorIsDone: Close lets go of the files. What uses the Iterator later gets ErrDone.
func TestClosedIteratorIsDone(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 300, 50)
	uses := map[string]func(it *Iterator) error{
		"Next":      func(it *Iterator) error { it.Next(); return it.Err() },
		"First":     func(it *Iterator) error { it.First(); return it.Err() },
		"SeekGE":    func(it *Iterator) error { it.SeekGE(nil); return it.Err() },
		"ValueSize": func(it *Iterator) error { it.ValueSize(); return it.Err() },
		"Value":     func(it *Iterator) error { _, err := it.Value(); return err },
		"View":      func(it *Iterator) error { return it.View(nil) },
		"Pairs": func(it *Iterator) error {
			for range it.Pairs() {
				t.Error("a pair comes")
			}
			return it.Err()
		},
	}
	for name, use := range uses {
		it := iterator(t, s, ScanOptions{})
		it.Next()
		it.Next()
		for range 3 {
			if err := it.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if it.Valid() || it.Key() != nil || it.Err() != nil {
			t.Errorf("closed: at %q, %v", it.Key(), it.Err())
		}
		if err := use(it); !errors.Is(err, ErrDone) {
			t.Errorf("%s behind Close: %v", name, err)
		}
	}
	for i := range 300 {
		fill(t, s, i, i+1, 51)
	}
	compactAll(t, s)
	wantNothingHeld(t, s)
}

// A callback may close the Iterator that it is called by, and still reads what it was shown.
func TestIteratorThatItsCallbackCloses(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 300, 50)
	it := iterator(t, s, ScanOptions{})
	it.Next()
	for i := range 300 {
		fill(t, s, i, i+1, 51)
	}
	compactAll(t, s)
	err := it.View(func(value []byte) error {
		want := clone(value)
		it.Close()
		if s.Stats().HeldBytes == 0 {
			t.Error("nothing is held for the callback")
		}
		return unchanged(value, want)
	})
	if err != nil {
		t.Error(err)
	}
	wantNothingHeld(t, s)
}

// TestIteratorHoldsUpNobody: while an Iterator stands, the store writes and compacts as ever. What
// the Iterator keeps counts as held.
func TestIteratorHoldsUpNobody(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fillWithChurn(t, s, smallSize)
	it := iterator(t, s, ScanOptions{Prefix: []byte("changing-")})
	if !it.Next() {
		t.Fatal(it.Err())
	}
	for round := 2; round < 40; round++ {
		churn(t, s, round)
		if round%4 == 0 {
			compactAll(t, s)
		}
	}
	if stats := s.Stats(); stats.HeldBytes == 0 || stats.WriteStall > 0 {
		t.Errorf("%d bytes are held; writers waited %v", stats.HeldBytes, stats.WriteStall)
	}
	shown := 0
	for key, value := range it.Pairs() {
		if !strings.HasPrefix(string(value), "00000001 of ") {
			t.Errorf("%s has %q", key, value)
		}
		shown++
	}
	if shown != changing || it.Err() != nil {
		t.Errorf("%d pairs: %v", shown, it.Err())
	}
	it.Close()
	wantNothingHeld(t, s)
}

// TestForgottenIterator: an Iterator that nobody closes keeps its files until the garbage collector
// finds it. Then the Logger gets a message.
func TestForgottenIterator(t *testing.T) {
	var messages atomic.Int32
	o := byHand()
	o.Logger = slog.New(countHandler{&messages})
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 300, 50)
	it, err := s.Iterator(ScanOptions{})
	if err != nil || !it.Next() {
		t.Fatal(err)
	}
	closed, err := s.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for i := range 300 {
		fill(t, s, i, i+1, 51)
	}
	compactAll(t, s)
	if s.Stats().HeldBytes == 0 {
		t.Error("nothing is held")
	}
	runtime.KeepAlive(it) // and not any longer
	waitFor(t, "the forgotten Iterator to be found", func() bool { runtime.GC(); return messages.Load() > 0 })
	wantNothingHeld(t, s)
	if n := messages.Load(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// countHandler counts the messages of forgotten Iterators.
type countHandler struct{ messages *atomic.Int32 }

func (h countHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h countHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "Iterator") {
		h.messages.Add(1)
	}
	return nil
}
func (h countHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h countHandler) WithGroup(string) slog.Handler      { return h }

// TestIteratorsRaceClose: iterators begin, move, and end while the store is closed.
func TestIteratorsRaceClose(t *testing.T) {
	for range 30 {
		s := open(t, t.TempDir(), tiny())
		fill(t, s, 0, 100, 50)
		var moving sync.WaitGroup
		var started sync.WaitGroup
		for n := range 4 {
			started.Add(1)
			moving.Go(func() {
				started.Done()
				for i := n; ; i++ {
					it, err := s.Iterator(ScanOptions{Reverse: i%2 > 0})
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
					pairs := 0
					for key, value := range it.Pairs() {
						var number int
						if _, err := fmt.Sscanf(string(key), "key-%07d", &number); err != nil {
							t.Error(err)
						}
						if _, want := numbered(number, 50); string(value) != string(want) {
							t.Errorf("%s has %q", key, value)
						}
						pairs++
					}
					if err := it.Err(); err == nil && pairs != 100 || err != nil && !errors.Is(err, ErrClosed) {
						t.Errorf("%d pairs, %v", pairs, err)
					}
					if i%3 > 0 {
						it.Close()
					} else {
						defer it.Close()
					}
				}
			})
		}
		started.Wait()
		closeStore(t, s)
		moving.Wait()
		waitFor(t, "the files to be let go", func() bool { return segment.Held() == 0 })
	}
}
