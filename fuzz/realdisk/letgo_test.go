//go:build linux && !race

// Race builds copy files to the heap instead of mapping them.

package realdisk

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/mmapkv"
)

var descriptorRounds = flag.Int("descriptor.rounds", 100, "how often TestCloseLetsGoOfEverything opens and closes its store")

const (
	letGoDescriptors = 256 // far fewer than the rounds need together
	letGoSegments    = 20
	letGoValue       = 10_000
)

// TestCloseLetsGoOfEverything opens, reads and closes a store again and again, in a process
// that never collects garbage and has few descriptors. When Close returns, the process has no
// file of the store open or mapped. In the end the store can be deleted, its space is free, and
// its disk can be unmounted, all without delay.
func TestCloseLetsGoOfEverything(t *testing.T) {
	if !alone(t) {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: letGoDescriptors, Max: letGoDescriptors}); err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		lacks(t, fmt.Sprint("mounting tmpfs: ", err))
	}
	free := freeBlocks(t, disk)
	store := filepath.Join(disk, "store")
	m := newSegmented(t, store)

	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for round := range *descriptorRounds {
		m.readAndClose()
		if held := heldBelow(t, disk); len(held) > 0 {
			t.Fatalf("after Close number %d the process still has %d files of the store, such as\n%s", round+1, len(held), held[0])
		}
	}
	runtime.ReadMemStats(&after)
	if after.NumGC != before.NumGC {
		t.Errorf("%d collections ran, %d of them forced", after.NumGC-before.NumGC, after.NumForcedGC-before.NumForcedGC)
	}

	t.Logf("%d kB a round from the heap", (after.TotalAlloc-before.TotalAlloc)/uint64(*descriptorRounds)>>10)

	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if now := freeBlocks(t, disk); now != free {
		t.Errorf("%d blocks were free before the store was created, %d after it was deleted", free, now)
	}
	if err := unix.Unmount(disk, 0); err != nil {
		t.Errorf("unmounting the disk: %v", err)
	}
}

// segmented is a store of many segments in a directory. Reading all of it makes little garbage,
// which this test never collects.
type segmented struct {
	t            *testing.T
	dir          string
	keys, values [][]byte
	buffer       []byte
}

// newSegmented creates the store, and closes it.
func newSegmented(t *testing.T, dir string) *segmented {
	t.Helper()
	m := &segmented{t: t, dir: dir}
	s := m.open()
	for len(s.Stats().Segments) <= letGoSegments { // Close removes the last one if it is empty
		key := fmt.Appendf(nil, "key-%d", len(m.keys))
		value := bytes.Repeat(key, letGoValue/len(key))
		if err := s.Put(key, value); err != nil {
			t.Fatal(err)
		}
		m.keys, m.values = append(m.keys, key), append(m.values, value)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *segmented) open() *mmapkv.Store {
	m.t.Helper()
	s, err := mmapkv.Open(m.dir, &mmapkv.Options{SegmentSize: 64 << 10, Compaction: mmapkv.Compaction{Disabled: true}})
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// readAndClose opens the store, reads it in every way, and closes it.
func (m *segmented) readAndClose() {
	m.t.Helper()
	s := m.open()
	if n := len(s.Stats().Segments); n < letGoSegments {
		m.t.Fatalf("the store has %d segments", n)
	}
	for i, key := range m.keys {
		var err error
		if m.buffer, err = s.AppendGet(m.buffer[:0], key); err == nil {
			err = m.check(i, m.buffer)
		}
		if err == nil {
			err = s.View(key, func(value []byte) error { return m.check(i, value) })
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
	err := s.GetMany(m.keys, func(i int, value []byte, err error) error {
		return cmp.Or(err, m.check(i, value))
	})
	if err != nil {
		m.t.Fatal(err)
	}
	shown := 0
	if err := s.Range(func(key, value []byte) error { shown++; return nil }); err != nil || shown != len(m.keys) {
		m.t.Fatalf("Range shows %d pairs of %d, %v", shown, len(m.keys), err)
	}
	listed := 0
	for range s.Keys() {
		listed++
	}
	if listed != len(m.keys) {
		m.t.Fatalf("Keys yields %d keys of %d", listed, len(m.keys))
	}
	if err := s.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *segmented) check(i int, value []byte) error {
	if !bytes.Equal(value, m.values[i]) {
		return fmt.Errorf("%s has a value of %d bytes that is not its own", m.keys[i], len(value))
	}
	return nil
}

// heldBelow lists what the process has open or mapped below a directory.
func heldBelow(t *testing.T, dir string) (held []string) {
	t.Helper()
	content, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, dir) {
			held = append(held, "mapped: "+line)
		}
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		target, err := os.Readlink("/proc/self/fd/" + name.Name())
		if err == nil && strings.HasPrefix(target, dir) { // ReadDir's own descriptor is closed by now
			held = append(held, "open: "+target)
		}
	}
	return held
}

func freeBlocks(t *testing.T, disk string) uint64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Bfree
}
