package mmapkv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// moment is what a State must show: the pairs of the store when it was captured.
type moment struct {
	state *order.State
	keys  []string // sorted
	value map[string]string
}

// capture captures a State of a store that has the pairs of the model.
func capture(t testing.TB, s *Store, model map[string]string) *moment {
	t.Helper()
	state, err := s.order.Capture()
	if err != nil {
		t.Fatal(err)
	}
	m := &moment{state: state, value: make(map[string]string, len(model))}
	for key, value := range model {
		m.keys = append(m.keys, key)
		m.value[key] = value
	}
	slices.Sort(m.keys)
	return m
}

// wantEntry expects an entry to be the record of the i-th key of the moment.
func (m *moment) wantEntry(t testing.TB, what string, e order.Entry, i int) {
	t.Helper()
	if string(e.Key) != m.keys[i] {
		t.Fatalf("%s: the key is %.60q, not %.60q", what, e.Key, m.keys[i])
	}
	if e.Seq > m.state.Seq() {
		t.Fatalf("%s: %.60q has number %d, above %d", what, e.Key, e.Seq, m.state.Seq())
	}
	f := found{file: e.File}
	if err := f.loadAt(e.Offset, e.Size); err != nil {
		t.Fatalf("%s: %.60q: %v", what, e.Key, err)
	}
	defer f.release()
	if got := string(f.record.Value); string(f.record.Key) != m.keys[i] || got != m.value[m.keys[i]] {
		t.Fatalf("%s: %.60q has %.60q, not %.60q", what, e.Key, got, m.value[m.keys[i]])
	}
	if f.record.Seq != e.Seq || f.record.Expiry != e.Expiry {
		t.Fatalf("%s: %.60q has number %d and expiry %d, not %d and %d", what, e.Key, e.Seq, e.Expiry, f.record.Seq, f.record.Expiry)
	}
}

// wantWhole expects a State to show exactly the moment's keys, in both directions.
func (m *moment) wantWhole(t testing.TB) {
	t.Helper()
	c := m.state.Cursor()
	defer c.Close()
	n := 0
	for ok := c.First(); ok; ok = c.Next() {
		if n == len(m.keys) {
			t.Fatalf("%.60q comes after the last key", c.Entry().Key)
		}
		m.wantEntry(t, "forward", c.Entry(), n)
		n++
	}
	if c.Err() != nil || n != len(m.keys) {
		t.Fatalf("forward: %d keys of %d, %v", n, len(m.keys), c.Err())
	}
	for ok := c.Last(); ok; ok = c.Prev() {
		n--
		if n < 0 {
			t.Fatalf("%.60q comes before the first key", c.Entry().Key)
		}
		m.wantEntry(t, "backward", c.Entry(), n)
	}
	if c.Err() != nil || n != 0 {
		t.Fatalf("backward: all but %d keys, %v", n, c.Err())
	}
	for _, key := range m.keys {
		m.wantFound(t, key)
	}
}

// wantFound expects Find to find what the moment has of a key.
func (m *moment) wantFound(t testing.TB, key string) {
	t.Helper()
	e, ok, err := m.state.Find([]byte(key))
	_, want := m.value[key]
	if err != nil || ok != want {
		t.Fatalf("Find(%.60q) says %v, %v; want %v", key, ok, err, want)
	}
	if ok {
		m.wantEntry(t, "Find", e, sort.SearchStrings(m.keys, key))
	}
}

// walk moves a cursor at random, and compares each place with the moment's.
func (m *moment) walk(t testing.TB, random *rand.Rand, keyOf func() string, moves int) {
	t.Helper()
	c := m.state.Cursor()
	defer c.Close()
	at := -1 // the place; -1: none
	stand := func(what string, ok bool, i int) {
		t.Helper()
		if c.Err() != nil {
			t.Fatalf("%s: %v", what, c.Err())
		}
		if want := i >= 0 && i < len(m.keys); ok != want {
			t.Fatalf("%s: says %v; the place is %d of %d", what, ok, i, len(m.keys))
		}
		if at = -1; ok {
			m.wantEntry(t, what, c.Entry(), i)
			at = i
		}
	}
	next, prev := func() int {
		if at < 0 {
			return -1
		}
		return at + 1
	}, func() int { return at - 1 }
	for range moves {
		m.wantFound(t, keyOf())
		switch random.IntN(9) {
		case 0:
			stand("First", c.First(), 0)
		case 1:
			stand("Last", c.Last(), len(m.keys)-1)
		case 2:
			key := keyOf()
			stand(fmt.Sprintf("SeekGE(%.60q)", key), c.SeekGE([]byte(key)), sort.SearchStrings(m.keys, key))
		case 3:
			key := keyOf()
			stand(fmt.Sprintf("SeekLT(%.60q)", key), c.SeekLT([]byte(key)), sort.SearchStrings(m.keys, key)-1)
		case 4, 5:
			stand("Next", c.Next(), next())
		case 6:
			stand("Prev", c.Prev(), prev())
		default:
			m.fill(t, c, &at, random.IntN(2) == 0, 1+random.IntN(100))
		}
	}
}

// fill fills from the place at, and moves it.
func (m *moment) fill(t testing.TB, c *order.Cursor, at *int, reverse bool, size int) {
	t.Helper()
	into := make([]order.Entry, size)
	n := c.Fill(into, reverse)
	if c.Err() != nil {
		t.Fatalf("Fill: %v", c.Err())
	}
	if *at < 0 {
		if n != 0 {
			t.Fatalf("Fill finds %d keys from nowhere", n)
		}
		return
	}
	step, want := 1, len(m.keys)-1-*at
	if reverse {
		step, want = -1, *at
	}
	if n != min(want, size) {
		t.Fatalf("Fill(%d, %v) finds %d keys; %d are left", size, reverse, n, want)
	}
	for i := range n {
		m.wantEntry(t, "Fill", into[i], *at+step*(i+1))
	}
	if *at += step * n; n < size {
		*at = -1
	}
}

// orderedStore is a store beside its model, and moments of both.
type orderedStore struct {
	t       *testing.T
	random  *rand.Rand
	store   *Store
	model   map[string]string
	moments []*moment
	stems   []string
}

func newOrderedStore(t *testing.T, seed uint64, o *Options) *orderedStore {
	r := rand.New(rand.NewPCG(seed, 16))
	stems := []string{"", "a", "user:0000", strings.Repeat("long shared prefix ", 5), "\x00", "\xff\xff"}
	return &orderedStore{t: t, random: r, store: open(t, t.TempDir(), o), model: map[string]string{}, stems: stems[:1+r.IntN(len(stems))]}
}

// key draws a key: of any bytes, empty or long, with prefixes in common.
func (o *orderedStore) key() string {
	r := o.random
	stem := o.stems[r.IntN(len(o.stems))]
	switch r.IntN(12) {
	case 0:
		return stem
	case 1:
		return stem + string([]byte{byte(r.IntN(256)), byte(r.IntN(256))})
	case 2:
		return stem + strings.Repeat(string([]byte{byte(r.IntN(3))}), r.IntN(20))
	case 3:
		if r.IntN(10) == 0 {
			return stem + strings.Repeat("k", 65_535-len(stem)-r.IntN(3))
		}
	}
	return fmt.Sprintf("%s%04d", stem, r.IntN(300))
}

// step does something at random to the store and its model.
func (o *orderedStore) step() {
	o.t.Helper()
	r, key := o.random, o.key()
	var err error
	switch n := r.IntN(100); {
	case n < 55:
		value := fmt.Sprint(r.Uint64())
		if r.IntN(40) == 0 {
			value += strings.Repeat("v", r.IntN(3*minSegmentSize)) // longer ones get files of their own
		}
		o.model[key] = value
		err = o.store.Put([]byte(key), []byte(value))
	case n < 75:
		delete(o.model, key)
		err = o.store.Delete([]byte(key))
	case n < 90:
		var b Batch
		for range r.IntN(8) {
			if key := o.key(); r.IntN(3) == 0 {
				delete(o.model, key)
				b.Delete([]byte(key))
			} else {
				o.model[key] = fmt.Sprint(r.Uint64())
				b.Put([]byte(key), []byte(o.model[key]))
			}
		}
		err = o.store.Write(&b)
	case n < 91:
		err = o.store.Compact(o.t.Context())
	case n < 93:
		_, err = stepView(o.store)
	case n < 97:
		o.moments = append(o.moments, capture(o.t, o.store, o.model))
	case len(o.moments) > 0:
		i := r.IntN(len(o.moments))
		o.moments[i].walk(o.t, r, o.key, 30)
		if r.IntN(2) == 0 {
			o.moments[i].wantWhole(o.t)
			o.moments[i].state.Release()
			o.moments = slices.Delete(o.moments, i, i+1)
		}
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *orderedStore) end() {
	for _, m := range o.moments {
		m.wantWhole(o.t)
		m.walk(o.t, o.random, o.key, 100)
		m.state.Release()
	}
	closeStore(o.t, o.store)
}

// A State shows exactly what the store had when it was captured, in order, in both directions,
// however the store was written to, compacted and rotated since.
func TestStateShowsTheMomentItWasCaptured(t *testing.T) {
	views := 0
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o := newOrderedStore(t, seed, &Options{SegmentSize: minSegmentSize << (seed % 4)})
			o.store.order.Eager, o.store.order.ViewFrom = seed%3 > 0, 1
			for range 400 {
				o.step()
			}
			views += o.store.order.Stats().ViewsMade
			o.end()
		})
	}
	if views < 30 {
		t.Errorf("%d views were made", views)
	}
}

func TestStateOfAnEmptyStore(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	m := capture(t, s, nil)
	m.wantWhole(t)
	m.walk(t, rand.New(rand.NewPCG(1, 1)), func() string { return "key" }, 50)
	m.state.Release()
	closeStore(t, s)
	if _, err := s.order.Capture(); !errors.Is(err, ErrClosed) {
		t.Errorf("Capture of a closed store: %v", err)
	}
}

// A key that was written very often costs a scan no more than a few looks, also at a moment between
// its versions.
func TestStateShowsAHotKeyAtItsMoment(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 4 << 20})
	model := map[string]string{"a": "first", "z": "last"}
	put(t, s, "a", "first")
	put(t, s, "z", "last")
	var moments []*moment
	for i := range 5000 {
		model["hot"] = fmt.Sprint(i)
		put(t, s, "hot", model["hot"])
		if i%700 == 1 {
			if err := s.Delete([]byte("hot")); err != nil {
				t.Fatal(err)
			}
			delete(model, "hot")
		}
		if i%500 == 1 || i == 4999 {
			moments = append(moments, capture(t, s, model))
		}
	}
	random := rand.New(rand.NewPCG(7, 7))
	for _, m := range slices.Backward(moments) {
		m.wantWhole(t)
		m.walk(t, random, func() string { return "hot"[:1+random.IntN(3)] }, 200)
		m.state.Release()
	}
}
