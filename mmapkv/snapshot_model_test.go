package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// modelSnapshot is a Snapshot beside the pairs that it must have.
type modelSnapshot struct {
	*Snapshot
	now   int64
	pairs map[string]pair
	its   []*modelIterator
}

// snapshotModel is an orderModel with snapshots.
type snapshotModel struct {
	*orderModel
	snapshots []*modelSnapshot
}

func (m *snapshotModel) make() {
	m.t.Helper()
	n, err := m.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	m.snapshots = append(m.snapshots, &modelSnapshot{n, m.now, maps.Clone(m.pairs), nil})
}

// then runs fn with what the model was when a snapshot was made.
func (m *snapshotModel) then(n *modelSnapshot, fn func()) {
	now, pairs := m.now, m.pairs
	m.now, m.pairs = n.now, n.pairs
	fn()
	m.now, m.pairs = now, pairs
}

// read reads one key in every way.
func (m *snapshotModel) read(n *modelSnapshot, key string) {
	m.t.Helper()
	p, ok := n.pairs[key]
	ok = ok && (p.expiry == 0 || p.expiry > n.now)
	value, err := n.Get([]byte(key))
	if ok && (err != nil || string(value) != p.value) || !ok && (err != ErrNotFound || value == nil) {
		m.t.Fatalf("Get(%.20q) of a snapshot = %.20q, %v; want %.20q, %v", key, value, err, p.value, ok)
	}
	if has, err := n.Has([]byte(key)); has != ok || err != nil {
		m.t.Fatalf("Has(%.20q) = %v, %v; want %v", key, has, err, ok)
	}
	if size, err := n.Size([]byte(key)); ok && (err != nil || size != int64(len(p.value))) || !ok && err != ErrNotFound {
		m.t.Fatalf("Size(%.20q) = %v, %v; want %v", key, size, err, ok)
	}
	ttl, expires, err := n.TTL([]byte(key))
	if !ok && err != ErrNotFound || ok && (err != nil || expires != (p.expiry != 0) || expires && ttl != time.Duration(p.expiry-n.now)*time.Millisecond) {
		m.t.Fatalf("TTL(%.20q) = %v, %v, %v; want %+v, %v", key, ttl, expires, err, p, ok)
	}
	err = n.View([]byte(key), func(value []byte) error {
		if string(value) != p.value {
			return errors.New("another value")
		}
		return nil
	})
	if ok && err != nil || !ok && err != ErrNotFound {
		m.t.Fatalf("View(%.20q): %v", key, err)
	}
}

// readMany reads some keys with GetMany, during which the store changes.
func (m *snapshotModel) readMany(n *modelSnapshot) {
	m.t.Helper()
	var keys [][]byte
	for range m.rng.IntN(12) {
		keys = append(keys, []byte(m.key()))
	}
	seen := 0
	err := n.GetMany(keys, func(i int, value []byte, err error) error {
		seen++
		p, ok := n.pairs[string(keys[i])]
		ok = ok && (p.expiry == 0 || p.expiry > n.now)
		if m.rng.IntN(4) == 0 {
			m.disturb()
		}
		if ok && (err != nil || string(value) != p.value) || !ok && err != ErrNotFound {
			return fmt.Errorf("key %.20q: %.20q, %w; want %.20q, %v", keys[i], value, err, p.value, ok)
		}
		return nil
	})
	if err != nil || seen != len(keys) {
		m.t.Fatalf("GetMany: %d of %d, %v", seen, len(keys), err)
	}
}

func (m *snapshotModel) scan(n *modelSnapshot) {
	m.t.Helper()
	o := m.options()
	var want []pair
	m.then(n, func() { want = m.want(&o) })
	if o.Reverse {
		slices.Reverse(want)
	}
	shown := 0
	err := n.Scan(o, func(key, value []byte) error {
		if shown == len(want) || string(key) != want[shown].key || !o.KeysOnly && string(value) != want[shown].value {
			return fmt.Errorf("pair %d of %d is %.20q, %.20q", shown, len(want), key, value)
		}
		shown++
		if m.rng.IntN(8) == 0 {
			m.disturb()
		}
		return nil
	})
	if err != nil || shown != len(want) {
		m.t.Fatalf("Scan(%+v) of a snapshot shows %d of %d pairs: %v", o, shown, len(want), err)
	}
}

func (m *snapshotModel) iterate(n *modelSnapshot) {
	m.t.Helper()
	o := m.options()
	it, err := n.Iterator(o)
	if err != nil {
		m.t.Fatal(err)
	}
	var want []pair
	m.then(n, func() { want = m.want(&o) })
	n.its = append(n.its, &modelIterator{Iterator: it, o: o, want: want, place: atStart})
}

// end closes a snapshot, or its iterators before.
func (m *snapshotModel) end(i int) {
	n := m.snapshots[i]
	m.snapshots = slices.Delete(m.snapshots, i, i+1)
	first := m.rng.IntN(2) == 0
	for _, it := range n.its {
		if first {
			it.Close()
		}
	}
	for range 2 {
		if err := n.Close(); err != nil {
			m.t.Error(err)
		}
	}
	m.wantEnded(n, ErrDone)
}

// wantEnded wants every call of a snapshot and of its iterators to return an error.
func (m *snapshotModel) wantEnded(n *modelSnapshot, want error) {
	m.t.Helper()
	key := []byte(m.key())
	for what, err := range readsOf(n.Snapshot, key) {
		if !errors.Is(err, want) {
			m.t.Fatalf("%s of an ended snapshot: %v; want %v", what, err, want)
		}
	}
	for _, it := range n.its {
		wantIts := want
		if it.closed {
			wantIts = ErrDone
		}
		if it.Next() || it.First() || !errors.Is(it.Err(), wantIts) {
			m.t.Fatalf("an iterator of an ended snapshot: %v; want %v", it.Err(), wantIts)
		}
		it.Close()
	}
}

// readsOf returns the errors of all reads of a key.
func readsOf(r Reader, key []byte) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = r.Get(key)
	_, errs["AppendGet"] = r.AppendGet(nil, key)
	errs["View"] = r.View(key, func([]byte) error { return nil })
	errs["GetMany"] = r.GetMany([][]byte{key}, func(_ int, _ []byte, err error) error { return err })
	_, errs["Has"] = r.Has(key)
	_, errs["Size"] = r.Size(key)
	_, _, errs["TTL"] = r.TTL(key)
	errs["Scan"] = r.Scan(ScanOptions{}, func([]byte, []byte) error { return nil })
	it, err := r.Iterator(ScanOptions{})
	if errs["Iterator"] = err; err == nil {
		it.Next()
		errs["Iterator"] = it.Err()
		it.Close()
	}
	return errs
}

func (m *snapshotModel) act() {
	m.t.Helper()
	if len(m.snapshots) == 0 || len(m.snapshots) < 4 && m.rng.IntN(20) == 0 {
		m.make()
	}
	i := m.rng.IntN(len(m.snapshots))
	n := m.snapshots[i]
	switch k := m.rng.IntN(60); {
	case k < 30:
		m.disturb()
	case k < 45:
		for range 4 {
			m.read(n, m.key())
		}
	case k < 48:
		m.readMany(n)
	case k < 50:
		m.scan(n)
	case k < 51 && len(n.its) < 3:
		m.iterate(n)
	case k < 57 && len(n.its) > 0:
		it := n.its[m.rng.IntN(len(n.its))]
		m.move(it)
	case k < 58:
		m.end(i)
	case k < 59 && m.rng.IntN(20) == 0:
		m.reopen()
		for _, n := range m.snapshots {
			m.wantEnded(n, ErrClosed)
			n.Close()
		}
		m.snapshots = nil
	case m.rng.IntN(10) == 0:
		if err := m.Compact(context.Background()); err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestSnapshotsShowTheMoment runs random writes, deletes, expiries, sweeps, rotations, compactions and
// reopens. Snapshots have what was there when they were made, in every kind of read.
func TestSnapshotsShowTheMoment(t *testing.T) {
	for seed := range uint64(modelSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &snapshotModel{orderModel: newOrderModel(t, seed)}
			for range 2500 {
				m.act()
			}
			for len(m.snapshots) > 0 {
				m.end(0)
			}
			wantNothingHeld(t, m.Store)
			closeStore(t, m.Store)
		})
	}
}
