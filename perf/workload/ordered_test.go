package workload

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sorted is an Ordered store that keeps its pairs in an array.
type sorted struct{ keys [][]byte }

func (s *sorted) Scan(span Span, fn func(key, value []byte) error) error {
	from, to := span.Bounds()
	n := 0
	for i := range s.keys {
		key := s.keys[i]
		if span.Reverse {
			key = s.keys[len(s.keys)-1-i]
		}
		if bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
			continue
		}
		if err := fn(key, nil); err != nil {
			return err
		}
		if n++; n == span.Limit {
			break
		}
	}
	return nil
}

func (s *sorted) Cursor() (Cursor, error) { return nil, fmt.Errorf("no cursor") }

func keysOf(d Data) *sorted {
	s := &sorted{}
	for i := range d.Keys {
		s.keys = append(s.keys, d.AppendKey(nil, i))
	}
	slices.SortFunc(s.keys, bytes.Compare)
	return s
}

func TestAFollowerRefusesWrongScans(t *testing.T) {
	c := tiny()
	store := keysOf(c.Data)
	s := &session{Config: c}
	for name, spoil := range map[string]func(keys [][]byte) [][]byte{
		"two keys in the wrong order": func(keys [][]byte) [][]byte {
			keys[500], keys[501] = keys[501], keys[500]
			return keys
		},
		"a key twice":   func(keys [][]byte) [][]byte { return slices.Insert(keys, 500, keys[500]) },
		"a missing key": func(keys [][]byte) [][]byte { return slices.Delete(keys, 500, 501) },
		"a short key":   func(keys [][]byte) [][]byte { keys[500] = keys[500][:20]; return keys },
		"":              func(keys [][]byte) [][]byte { return keys },
	} {
		for _, span := range []Span{{KeysOnly: true}, {KeysOnly: true, Reverse: true}} {
			spoilt := &sorted{spoil(slices.Clone(store.keys))}
			f := s.newFollower(spoilt, span)
			if _, err := s.everything(f, func() error { return spoilt.Scan(span, f.visit) }); (err == nil) != (name == "") {
				t.Errorf("%s, %+v: %v", name, span, err)
			}
		}
	}
	f := s.newFollower(store, Span{})
	if _, err := s.everything(f, func() error { return store.Scan(Span{}, f.visit) }); err == nil {
		t.Error("pairs without values are accepted")
	}
}

func TestASeekThatBeginsOrEndsWrongIsAnError(t *testing.T) {
	c := tiny()
	store := keysOf(c.Data)
	s := &session{Config: c}
	last, err := c.Number(store.keys[c.Keys-1])
	if err != nil {
		t.Fatal(err)
	}
	seek := func(f *follower, number int) error {
		pairs, err := f.seek(number, 3, f.scanFrom)
		if err == nil && pairs < 3 {
			err = s.mustEnd(f, f.scanFrom)
		}
		return err
	}
	f := s.newFollower(store, Span{KeysOnly: true})
	for _, number := range []int{0, 7, last} {
		if err := seek(f, number); err != nil {
			t.Errorf("key %d: %v", number, err)
		}
	}
	if err := seek(f, c.Keys); err == nil {
		t.Error("a seek of an absent key finds it")
	}
	f.store = ending{store}
	if err := seek(f, 7); (err == nil) != (last == 7) {
		t.Errorf("a scan that ends early: %v", err)
	}
}

// ending is a store whose scans of three pairs end after the first.
type ending struct{ *sorted }

func (e ending) Scan(span Span, fn func(key, value []byte) error) error {
	if span.Limit == 3 {
		span.Limit = 1
	}
	return e.sorted.Scan(span, fn)
}

func TestOrderOfPlacesIsOrderOfKeys(t *testing.T) {
	d := Data{Keys: 1 << 30, KeySize: 40, ValueSize: 16}
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		var keys [2][]byte
		for i := range keys {
			switch number := random.IntN(1000); random.IntN(3) {
			case 0:
				keys[i] = d.AppendKey(nil, number)
			case 1:
				keys[i] = d.appendGroupKey(nil, number)
			case 2:
				keys[i] = d.appendSwathKey(nil, number)
			}
		}
		before := placeOf(keys[0]).before(placeOf(keys[1]))
		if before != (bytes.Compare(keys[0], keys[1]) < 0) {
			t.Errorf("%x and %x: %v", keys[0], keys[1], before)
		}
	}
}

func TestBoundsIncludeThePrefix(t *testing.T) {
	for _, c := range []struct{ prefix, from, to, want string }{
		{"", "", "", "nil to nil"},
		{"a", "", "", "a to b"},
		{"a", "aa", "ab", "aa to ab"},
		{"b", "a", "c", "b to c"},
		{"b", "ba", "d", "ba to c"},
		{"a\xff", "", "", "a\xff to b"},
		{"\xff\xff", "", "", "\xff\xff to nil"},
		{"", "x", "y", "x to y"},
	} {
		span := Span{Prefix: []byte(c.prefix), From: bound(c.from), To: bound(c.to)}
		from, to := span.Bounds()
		if got := shown(from) + " to " + shown(to); got != c.want {
			t.Errorf("%q: %q, want %q", c.prefix, got, c.want)
		}
	}
}

func bound(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func shown(b []byte) string {
	if b == nil {
		return "nil"
	}
	return string(b)
}

// Every engine with ordered keys passes the same pairs, whatever the span.
func TestOrderedEnginesScanSpans(t *testing.T) {
	d := Data{Keys: 2000, KeySize: 24, ValueSize: 40, Seed: 3}
	want := keysOf(d)
	for _, e := range engines() {
		store, err := e.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		ordered, ok := store.(Ordered)
		if !ok {
			continue
		}
		s := &session{Config: Config{Data: d}, ctx: t.Context(), store: store}
		if err := s.loadByBatches(); err != nil {
			t.Fatal(err)
		}
		middle, later := want.keys[900], want.keys[1200]
		for _, span := range []Span{
			{}, {Reverse: true}, {KeysOnly: true}, {Limit: 1}, {Limit: 7, Reverse: true},
			{Prefix: middle[:1]}, {Prefix: middle[:2], Reverse: true, KeysOnly: true}, {From: middle}, {To: middle, Limit: 50},
			{From: middle, To: later}, {From: middle, To: later, Reverse: true, Limit: 20}, {From: later, To: middle},
		} {
			if got, want := listed(t, ordered, d, span), listed(t, want, d, span); got != want {
				t.Errorf("%s, %+v: %d bytes of keys, want %d", e.Name, span, len(got), len(want))
			}
		}
		cursor, err := ordered.Cursor()
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, 1999, 900, 899} {
			var got strings.Builder
			err := cursor.Seek(want.keys[at], 3, func(key, value []byte) error {
				got.Write(key)
				number, _ := d.Number(key)
				return d.VerifyFully(number, value)
			})
			if want := string(bytes.Join(want.keys[at:min(at+3, len(want.keys))], nil)); err != nil || got.String() != want {
				t.Errorf("%s: from %d on: %x, want %x, %v", e.Name, at, &got, want, err)
			}
		}
		if err := cursor.Close(); err != nil {
			t.Error(err)
		}
	}
}

// listed is all keys of a span; values, where there are any, must be right.
func listed(t *testing.T, store Ordered, d Data, span Span) string {
	t.Helper()
	var keys strings.Builder
	err := store.Scan(span, func(key, value []byte) error {
		keys.Write(key)
		number, err := d.Number(key)
		if err != nil || value == nil {
			return err
		}
		if span.KeysOnly {
			return fmt.Errorf("key %d has a value of %d bytes", number, len(value))
		}
		return d.VerifyFully(number, value)
	})
	if err != nil {
		t.Error(err)
	}
	return keys.String()
}
