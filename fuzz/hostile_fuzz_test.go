package fuzz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// FuzzHostileDirectory opens a directory in which anything may have happened to any file: no
// panic, no hang, memory within twice the files plus 64 MiB, and the store shows the same when
// opened again. Scans show pairs that Get returns, in order, or say that something is damaged.
func FuzzHostileDirectory(f *testing.F) {
	f.Add(uint64(1), []byte{0, 0, 0, 1, 2, 3})
	f.Add(uint64(2), []byte{1, 0, 16, 0xff, 2, 0, 8, 1, 3, 1, 0, 0x80})
	f.Add(uint64(3), []byte("truncate and flip and swap"))
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte) {
		disk := smallStore(t, seed%16)
		damage(t, disk, edits)
		var total uint64
		for _, name := range disk.Files() {
			total += uint64(len(disk.Bytes(name)))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, 9)))
		l.disk = disk
		store, err := l.open(disk)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 2*total+64<<20 {
			t.Fatalf("opening %d bytes allocated %d", total, grown)
		}
		if err != nil {
			return
		}
		shown := readable(t, store)
		if err := store.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if store, err = l.open(disk); err != nil {
			t.Fatalf("open again: %v", err)
		}
		again := readable(t, store)
		if fmt.Sprint(again) != fmt.Sprint(shown) {
			t.Fatalf("it shows %v, when opened again %v", shown, again)
		}
	})
}

// smallStore returns the disk of a store with a little of everything.
func smallStore(t *testing.T, seed uint64) *crashfs.Disk {
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, 3)))
	store, err := l.open(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	l.store = store
	for range 40 {
		if err := l.writeOne([]oracle.Op{l.randomOp()}); err != nil {
			t.Fatal(err)
		}
	}
	if seed%2 == 0 {
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return l.disk.Kill()
}

// maxEdits limits the edits: each copies a file, and may make it longer.
const maxEdits = 64

// damage edits files: each edit is a file, an offset, and what happens there.
func damage(t *testing.T, disk *crashfs.Disk, edits []byte) {
	names := disk.Files()
	edits = edits[:min(len(edits), 5*maxEdits)]
	for ; len(edits) >= 5; edits = edits[5:] {
		name := names[int(edits[0])%len(names)]
		content := disk.Bytes(name)
		if len(content) == 0 {
			continue
		}
		at := int(binary.LittleEndian.Uint16(edits[1:])) % len(content)
		switch edits[3] % 6 {
		case 0:
			content[at] ^= edits[4] | 1
		case 1:
			content = content[:at]
		case 2:
			clear(content[at:min(at+int(edits[4])*8, len(content))])
		case 3:
			copy(content[at:], content[:min(int(edits[4])*4, len(content))])
		case 4:
			content = append(content, edits...)
		case 5:
			other := disk.Bytes(names[int(edits[4])%len(names)])
			content = append(content[:at:at], other...)
		}
		if err := disk.SetBytes(name, content); err != nil {
			t.Fatal(err)
		}
	}
}

// maxScanned is how many bytes some scans of a small store may allocate.
const maxScanned = 64 << 20

// readable returns what a store shows of each of its keys: the value, or "damaged".
func readable(t *testing.T, store *mmapkv.Store) map[string]string {
	shown := map[string]string{}
	for key := range store.Keys() {
		value, err := store.Get(key)
		switch {
		case err == nil:
			shown[string(key)] = string(value)
		case errors.Is(err, mmapkv.ErrCorrupt):
			shown[string(key)] = "damaged"
		default:
			t.Fatalf("Get(%q): %v", key, err)
		}
	}
	if err := store.Range(func(key, value []byte) error { return nil }); err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		t.Fatalf("Range: %v", err)
	}
	scanHostile(t, store, shown)
	return shown
}

// scanHostile compares scans with what Get returns of the keys that Keys yields, and of those that scans
// list besides: they must be damaged.
func scanHostile(t *testing.T, store *mmapkv.Store, shown map[string]string) {
	t.Helper()
	content := maps.Clone(shown)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	keys, err := scanned(store, mmapkv.ScanOptions{KeysOnly: true})
	if err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		t.Fatalf("Scan: %v", err)
	}
	for _, p := range keys {
		if _, there := shown[p.key]; there {
			continue
		}
		if _, err := store.Get([]byte(p.key)); !errors.Is(err, mmapkv.ErrCorrupt) {
			t.Fatalf("a scan lists %q; Keys does not, and Get: %v", p.key, err)
		}
		content[p.key] = "damaged"
	}
	for _, o := range orders {
		pairs, err := scanned(store, o)
		e := orderError{o, pairs, ordered(content, o), err}
		if e.wrong() || err == nil && len(pairs) < len(e.want) || err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
			t.Fatal(e)
		}
		again, err := iterated(store, o)
		if !slices.Equal(again, pairs) || (err == nil) != (e.err == nil) {
			t.Fatalf("Scan shows %v, %v; an Iterator %v, %v", pairs, e.err, again, err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > maxScanned {
		t.Fatalf("scans allocated %d bytes", grown)
	}
}

// FuzzOperations runs the operations that the bytes encode, and compares the store with the
// oracle.
func FuzzOperations(f *testing.F) {
	f.Add([]byte("put get delete"), byte(0))
	f.Add([]byte{0, 1, 2, 200, 201, 202, 90, 91, 92, 254, 255, 100}, byte(1))
	f.Add([]byte{1, 1, 1, 230, 1, 250, 1, 251, 1, 252, 7, 7, 240}, byte(2))
	f.Fuzz(func(t *testing.T, actions []byte, policy byte) {
		policies := []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never}
		l := newLife(t, &census{}, policies[int(policy)%3], rand.New(&scripted{actions, 0}))
		l.run(min(len(actions), 200), false)
		l.compare(l.store, l.oracle.Current().Visible(l.now))
	})
}

// scripted is a source of random numbers. They come from the fuzzer's bytes, and from a counter
// once the bytes are used up.
type scripted struct {
	bytes []byte
	count uint64
}

func (s *scripted) Uint64() uint64 {
	s.count++
	if len(s.bytes) == 0 {
		return s.count * 0x9e3779b97f4a7c15
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return uint64(b)<<56 | (s.count*0x9e3779b97f4a7c15)>>8
}
