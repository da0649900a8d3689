package fuzz

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"pgregory.net/rapid"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// modelSnapshot is a Snapshot beside what it must have: the state of when it was made.
type modelSnapshot struct {
	*mmapkv.Snapshot
	found map[string]string
}

// maxSnapshots is how many snapshots are open at once.
const maxSnapshots = 3

// doSnapshot makes a Snapshot, which stays open during other actions.
func (m *model) doSnapshot(t *rapid.T) {
	if len(m.snapshots) == maxSnapshots {
		m.endSnapshot(t, 0)
	}
	m.catchUp()
	n, err := m.store.Snapshot()
	m.must(t, "Snapshot", err)
	m.snapshots = append(m.snapshots, &modelSnapshot{n, m.found(t)})
}

// doReadSnapshot reads some keys of an open Snapshot, or scans it.
func (m *model) doReadSnapshot(t *rapid.T) {
	if len(m.snapshots) == 0 {
		m.doSnapshot(t)
	}
	n := m.snapshots[rapid.IntRange(0, len(m.snapshots)-1).Draw(t, "snapshot")]
	for range rapid.IntRange(1, 10).Draw(t, "reads") {
		n.read(t, keyGenerator.Draw(t, "key"))
	}
	switch rapid.IntRange(0, 3).Draw(t, "more") {
	case 0:
		o := scanOptions(t)
		want := ordered(n.found, o)
		got, err := scanned(n, o)
		if err != nil || !slices.Equal(got, want) {
			t.Fatal(orderError{o, got, want, err})
		}
	case 1:
		for _, key := range modelKeys {
			n.read(t, key)
		}
	}
}

// read compares the reads of a key with the model.
func (n *modelSnapshot) read(t *rapid.T, key string) {
	t.Helper()
	want, ok := n.found[key]
	got, err := n.Get([]byte(key))
	if ok && (err != nil || string(got) != want) || !ok && !errors.Is(err, mmapkv.ErrNotFound) {
		t.Fatalf("Get(%.20q) of a snapshot is %.20q, %v; want %.20q, %v", key, got, err, want, ok)
	}
	if has, err := n.Has([]byte(key)); has != ok || err != nil {
		t.Fatalf("Has(%.20q) of a snapshot is %v, %v; want %v", key, has, err, ok)
	}
}

// doEndSnapshot closes a Snapshot.
func (m *model) doEndSnapshot(t *rapid.T) {
	if n := len(m.snapshots); n > 0 {
		m.endSnapshot(t, rapid.IntRange(0, n-1).Draw(t, "snapshot"))
	}
}

func (m *model) endSnapshot(t *rapid.T, i int) {
	n := m.snapshots[i]
	m.snapshots = slices.Delete(m.snapshots, i, i+1)
	m.must(t, "Close of a Snapshot", n.Close())
	n.wantEnded(t, mmapkv.ErrDone)
}

// wantEnded checks that a Snapshot has ended.
func (n *modelSnapshot) wantEnded(t *rapid.T, want error) {
	_, get := n.Get([]byte(keyGenerator.Draw(t, "key")))
	scan := n.Scan(mmapkv.ScanOptions{}, func([]byte, []byte) error { return fs.SkipAll })
	if !errors.Is(get, want) || !errors.Is(scan, want) {
		t.Fatalf("a snapshot goes on: %v and %v; want %v", get, scan, want)
	}
}

// snapshotsEnded checks that the store has ended all snapshots.
func (m *model) snapshotsEnded(t *rapid.T) {
	for _, n := range m.snapshots {
		n.wantEnded(t, mmapkv.ErrClosed)
		m.must(t, "Close of a Snapshot", n.Close())
	}
	m.snapshots = nil
}

// snapshotted returns what single reads of one Snapshot find of the keys of a history, which have the
// prefix of the options.
func snapshotted(store *mmapkv.Store, o mmapkv.ScanOptions) (pairs []orderedPair, err error) {
	n, err := store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	for i := range scanKeys {
		if o.Reverse {
			i = scanKeys - 1 - i
		}
		key := fmt.Appendf(slices.Clone(o.Prefix), "%d", i)
		value, err := n.Get(key)
		if errors.Is(err, mmapkv.ErrNotFound) {
			continue
		}
		if err != nil {
			return pairs, err
		}
		pairs = append(pairs, orderedPair{string(key), string(value)})
	}
	return pairs, nil
}
