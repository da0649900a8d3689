package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
)

// pair is a key with its value and when it expires, in Unix milliseconds; 0: never.
type pair struct {
	key, value string
	expiry     int64
}

// orderModel is a store beside a map that says what must be in it. The test controls its clock and
// takes its background's steps.
type orderModel struct {
	*Store
	t     *testing.T
	rng   *rand.Rand
	disk  *crashfs.Disk
	now   int64 // Unix milliseconds
	pairs map[string]pair
	steps []inject.Step
	open  []*modelIterator
}

func newOrderModel(t *testing.T, seed uint64) *orderModel {
	m := &orderModel{t: t, rng: rand.New(rand.NewPCG(seed, 0)), disk: crashfs.New(), now: 1_000_000, pairs: map[string]pair{}}
	m.reopen()
	return m
}

func (m *orderModel) reopen() {
	m.t.Helper()
	if m.Store != nil {
		closeStore(m.t, m.Store)
	}
	o := &Options{SegmentSize: minSegmentSize, Sync: fsync.Never, Compaction: Compaction{Disabled: m.rng.IntN(2) > 0}}
	inject.Into(o, &inject.Seams{
		FS: m.disk, Manual: true, PageSlots: 8,
		Now:    func() time.Time { return time.UnixMilli(m.now) },
		OnOpen: func(steps []inject.Step) { m.steps = steps },
	})
	m.Store = open(m.t, "/store", o)
}

// key draws a key from few, of all lengths, whose bytes are close to the bounds of prefixes.
func (m *orderModel) key() string {
	if m.rng.IntN(50) == 0 {
		return strings.Repeat("a", 1000+m.rng.IntN(3)) // a part of a table of its own
	}
	letters := []byte("\x00ab\xfe\xff")
	key := make([]byte, m.rng.IntN(5))
	for i := range key {
		key[i] = letters[m.rng.IntN(len(letters))]
	}
	return string(key)
}

// write does one write, to the store and to the map.
func (m *orderModel) write() {
	m.t.Helper()
	key, value := m.key(), strings.Repeat(fmt.Sprint(m.rng.IntN(1000), " "), m.rng.IntN(40))
	if m.rng.IntN(200) == 0 {
		value = strings.Repeat("long ", minSegmentSize/4) // gets a file of its own
	}
	var err error
	switch m.rng.IntN(10) {
	case 0, 1, 2:
		err = m.Delete([]byte(key))
		delete(m.pairs, key)
	case 3, 4:
		ttl := 1 + m.rng.Int64N(30)
		err = m.PutWithTTL([]byte(key), []byte(value), time.Duration(ttl)*time.Millisecond)
		m.pairs[key] = pair{key, value, m.now + ttl}
	case 5:
		var b Batch
		for range m.rng.IntN(6) {
			k := m.key()
			if m.rng.IntN(3) == 0 {
				b.Delete([]byte(k))
				delete(m.pairs, k)
			} else {
				b.Put([]byte(k), []byte(value))
				m.pairs[k] = pair{k, value, 0}
			}
		}
		err = m.Write(&b)
	default:
		err = m.Put([]byte(key), []byte(value))
		m.pairs[key] = pair{key, value, 0}
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// options draws options.
func (m *orderModel) options() (o ScanOptions) {
	if m.rng.IntN(3) == 0 {
		o.Prefix = []byte(m.key())
		o.Prefix = o.Prefix[:min(len(o.Prefix), m.rng.IntN(4))]
	}
	if m.rng.IntN(3) == 0 {
		o.From = []byte(m.key())
	}
	if m.rng.IntN(3) == 0 {
		o.To = []byte(m.key())
	}
	o.Reverse, o.KeysOnly = m.rng.IntN(2) > 0, m.rng.IntN(4) == 0
	return o
}

// want returns the pairs that the options name now, from the lowest up.
func (m *orderModel) want(o *ScanOptions) (want []pair) {
	for key, p := range m.pairs {
		if o.named(key) && (p.expiry == 0 || p.expiry > m.now) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return want
}

// scan compares a Scan with the map. Its callback may write, or compact, or let time pass.
func (m *orderModel) scan() {
	m.t.Helper()
	o := m.options()
	want := m.want(&o)
	if o.Reverse {
		slices.Reverse(want)
	}
	busy, shown := m.rng.IntN(3) == 0, 0
	err := m.Scan(o, func(key, value []byte) error {
		if shown == len(want) || string(key) != want[shown].key || !o.KeysOnly && string(value) != want[shown].value || o.KeysOnly && value != nil {
			return fmt.Errorf("pair %d of %d is %.20q, %.20q", shown, len(want), key, value)
		}
		k := string(key)
		for busy && m.rng.IntN(3) == 0 {
			m.disturb()
		}
		if string(key) != k || string(value) != want[shown].value && !o.KeysOnly {
			return fmt.Errorf("pair %d has changed in the callback", shown)
		}
		shown++
		return nil
	})
	if err != nil || shown != len(want) {
		m.t.Fatalf("Scan(%+v) shows %d of %d pairs: %v", o, shown, len(want), err)
	}
}

// disturb does something that no scan may notice.
func (m *orderModel) disturb() {
	m.t.Helper()
	switch n := m.rng.IntN(20); {
	case n < 12:
		m.write()
	case n < 14:
		m.now += m.rng.Int64N(10)
	case n < 15:
		if err := m.Compact(context.Background()); err != nil {
			m.t.Fatal(err)
		}
	default:
		step := m.steps[m.rng.IntN(len(m.steps))]
		if _, err := step.Run(); err != nil {
			m.t.Fatalf("%s: %v", step.Name, err)
		}
	}
}

// modelIterator is an Iterator beside the pairs that it must show.
type modelIterator struct {
	*Iterator
	o    ScanOptions
	want []pair
	at   int // in want
	place
}

func (m *orderModel) iterate() {
	m.t.Helper()
	o := m.options()
	it, err := m.Iterator(o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.open = append(m.open, &modelIterator{Iterator: it, o: o, want: m.want(&o), place: atStart})
}

// stand is where the model comes to stand.
func (i *modelIterator) stand(at int) bool {
	i.at, i.place = at, atPair
	if at < 0 || at >= len(i.want) {
		i.place = atNoPair
	}
	return i.place == atPair
}

// step is Next and Prev of the model.
func (i *modelIterator) step(down bool) bool {
	switch {
	case i.place == atNoPair:
		return false
	case i.place == atStart && down:
		return i.stand(len(i.want) - 1)
	case i.place == atStart:
		return i.stand(0)
	case down:
		return i.stand(i.at - 1)
	}
	return i.stand(i.at + 1)
}

// move makes a move of an Iterator and of its model, and compares them.
func (m *orderModel) move(i *modelIterator) {
	m.t.Helper()
	var what string
	var got, want bool
	key := m.key()
	above := sort.Search(len(i.want), func(n int) bool { return i.want[n].key >= key })
	switch n := m.rng.IntN(12); n {
	case 0:
		what, got, want = "First", i.First(), i.stand(0)
	case 1:
		what, got, want = "Last", i.Last(), i.stand(len(i.want)-1)
	case 2:
		what, got, want = "SeekGE", i.SeekGE([]byte(key)), i.stand(above)
	case 3:
		what, got, want = "SeekLT", i.SeekLT([]byte(key)), i.stand(above-1)
	case 4:
		if i.Valid() { // the seek's key is the iterator's own
			what, got, want = "SeekLT of its key", i.SeekLT(i.Key()), i.stand(i.at-1)
		}
	case 5, 6, 7:
		what, got, want = "Prev", i.Prev(), i.step(!i.o.Reverse)
	default:
		what, got, want = "Next", i.Next(), i.step(i.o.Reverse)
	}
	if got != want || i.Valid() != (i.place == atPair) || i.Err() != nil {
		m.t.Fatalf("%s(%.10q) is %v, want %v; Err %v", what, key, got, want, i.Err())
	}
	m.look(i)
}

// look compares the pair of an Iterator with that of its model.
func (m *orderModel) look(i *modelIterator) {
	m.t.Helper()
	if i.place != atPair {
		if _, err := i.Value(); !errors.Is(err, ErrInvalid) || i.Key() != nil || i.ValueSize() != 0 {
			m.t.Fatalf("there is no pair, but key %q and %v", i.Key(), err)
		}
		return
	}
	p := i.want[i.at]
	value, err := i.Value()
	if err != nil || string(i.Key()) != p.key || i.ValueSize() != int64(len(p.value)) || !i.o.KeysOnly && string(value) != p.value {
		m.t.Fatalf("pair %d of %d: %.20q with %.20q, %v; want %.20q with %.20q", i.at, len(i.want), i.Key(), value, err, p.key, p.value)
	}
	err = i.View(func(viewed []byte) error {
		if !bytes.Equal(viewed, value) {
			return fmt.Errorf("View shows %.20q and not %.20q", viewed, value)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// rest goes on with Pairs.
func (m *orderModel) rest(i *modelIterator) {
	m.t.Helper()
	ok := i.place == atPair || i.place == atStart && i.step(i.o.Reverse)
	for key, value := range i.Pairs() {
		if !ok || string(key) != i.want[i.at].key || !i.o.KeysOnly && string(value) != i.want[i.at].value {
			m.t.Fatalf("Pairs yields %.20q, %.20q", key, value)
		}
		if m.rng.IntN(8) == 0 {
			return
		}
		ok = i.step(i.o.Reverse)
	}
	if ok || i.Err() != nil {
		m.t.Fatalf("Pairs ended too early: %v", i.Err())
	}
}

// endOne closes an Iterator and forgets it.
func (m *orderModel) endOne(n int) {
	it := m.open[n]
	m.open = slices.Delete(m.open, n, n+1)
	for range 2 {
		if err := it.Close(); err != nil {
			m.t.Error(err)
		}
	}
	if it.First() || it.Next() || !errors.Is(it.Err(), ErrDone) || it.Valid() {
		m.t.Errorf("behind Close: %v", it.Err())
	}
}

// TestScansAndIteratorsShowTheMoment runs random writes, deletes, expiries, sweeps, rotations,
// compactions and reopens. Scans and iterators show what was there when they began.
func TestScansAndIteratorsShowTheMoment(t *testing.T) {
	for seed := range uint64(modelSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := newOrderModel(t, seed)
			for range 2500 {
				m.act()
			}
			for len(m.open) > 0 {
				m.endOne(0)
			}
			if stats := m.Stats(); len(stats.Segments) < 3 {
				t.Errorf("only %d segments", len(stats.Segments))
			}
			wantNothingHeld(t, m.Store)
			closeStore(t, m.Store)
		})
	}
}

// act does one thing.
func (m *orderModel) act() {
	m.t.Helper()
	any := func() int { return m.rng.IntN(len(m.open)) }
	switch n := m.rng.IntN(40); {
	case n < 20:
		m.disturb()
	case n < 22:
		m.scan()
	case n < 24 && len(m.open) < 4:
		m.iterate()
	case n < 25 && len(m.open) > 0:
		m.endOne(any())
	case n < 26 && len(m.open) > 0:
		m.rest(m.open[any()])
	case n < 39 && len(m.open) > 0:
		for range m.rng.IntN(8) {
			m.move(m.open[any()])
		}
	case m.rng.IntN(20) == 0:
		m.reopen()
		for _, it := range m.open {
			if it.Next() || !errors.Is(it.Err(), ErrClosed) {
				m.t.Errorf("when the store was closed: %v", it.Err())
			}
			it.Close()
		}
		m.open = nil
	}
}

const modelSeeds = 12
