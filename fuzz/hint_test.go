package fuzz

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
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
