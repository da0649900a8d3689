package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// TestSealingForgetsNoDamagedKey damages the newest records of two keys, a value and a delete,
// in a file that the store continues to write after a reopen. The file's old hint knew both
// keys. The hint written when the file is sealed must know them too.
func TestSealingForgetsNoDamagedKey(t *testing.T) {
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(1, 1)))
	open := func() {
		t.Helper()
		var err error
		if l.store, err = l.open(l.disk); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open()
	for _, version := range []string{"old", "new"} {
		must(l.store.Put([]byte("put"), []byte(version)))
		must(l.store.Put([]byte("deleted"), []byte(version)))
	}
	must(l.store.Delete([]byte("deleted")))
	name := path.Join(storeDir, l.store.Stats().Segments[0].File)
	must(l.store.Close())
	content := l.disk.Bytes(name)
	l.disk.Flip(name, int64(bytes.LastIndex(content, []byte("put"))), 1)
	l.disk.Flip(name, int64(bytes.LastIndex(content, []byte("deleted"))), 1)
	check := func(when string) {
		t.Helper()
		if got, err := l.store.Get([]byte("put")); !errors.Is(err, mmapkv.ErrCorrupt) {
			t.Errorf("%s: Get of the damaged record: %q, %v", when, got, err)
		}
		if got, err := l.store.Get([]byte("deleted")); !errors.Is(err, mmapkv.ErrNotFound) {
			t.Errorf("%s: Get of the deleted key: %q, %v", when, got, err)
		}
	}
	open()
	check("opened")
	must(l.store.Put([]byte("other"), nil))
	if err := l.store.Compact(t.Context()); err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		t.Fatal(err)
	}
	check("sealed")
	must(l.store.Close())
	open()
	check("opened again")
}

// TestHintOfAnOlderVersionIsMadeAnew gives the files of a store hints of version 2, which nothing
// reads any more. Verify finds no damage. Open rebuilds the hints from the records, finds every
// key, and reports no damage either.
func TestHintOfAnOlderVersionIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	open := func() *mmapkv.Store {
		t.Helper()
		s, err := mmapkv.Open(dir, &mmapkv.Options{SegmentSize: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	const keys = 1000
	for i := range keys {
		if err := s.Put(fmt.Append(nil, "key", i), fmt.Append(nil, "value", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, segment.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	m, err := segment.ParseManifest(content)
	if err != nil || len(m.Segments) < 3 {
		t.Fatalf("%d segments, %v", len(m.Segments), err)
	}
	for _, info := range m.Segments {
		older := make([]byte, 64, 72)
		copy(older, "MMKVHNT\x00\x02")
		binary.LittleEndian.PutUint64(older[16:], uint64(info.ID))
		binary.LittleEndian.PutUint64(older[24:], uint64(info.End.Offset))
		binary.LittleEndian.PutUint64(older[32:], info.End.Seq)
		older = binary.LittleEndian.AppendUint64(older, uint64(sealed(older, info.Salt, uint64(info.ID), sealHint)))
		if err := os.WriteFile(filepath.Join(dir, segment.HintName(info.ID)), older, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := mmapkv.Verify(t.Context(), dir, nil)
	if err != nil || len(report.Damages) > 0 || len(report.Remarks) != len(m.Segments) {
		t.Errorf("%v: %+v", err, report)
	}
	for _, rebuilt := range []int{len(m.Segments), 0} {
		s = open()
		if stats := s.Stats(); stats.Keys != keys || stats.Recovery.HintsRebuilt != rebuilt || len(stats.Recovery.Damages) > 0 {
			t.Errorf("%d keys, %+v", stats.Keys, stats.Recovery)
		}
		if err := s.Put([]byte("key0"), []byte("value0")); err != nil { // so Close writes the last hint
			t.Fatal(err)
		}
		for i := range keys {
			if got, err := s.Get(fmt.Append(nil, "key", i)); err != nil || string(got) != fmt.Sprint("value", i) {
				t.Fatalf("key%d is %q, %v", i, got, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := mmapkv.Verify(t.Context(), dir, nil); err != nil || len(report.Damages)+len(report.Remarks) > 0 {
		t.Errorf("%v: %+v", err, report)
	}
}
