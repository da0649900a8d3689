//go:build !race

// Race builds read heap copies, which are neither cold nor locked.

package mmapkv

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// mappedPages returns how much of a file's mapping this process has touched.
func mappedPages(t *testing.T, f *catalog.File) (kilobytes int64) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, ours, found := strings.Cut(string(maps), fmt.Sprintf("%x-", unsafe.SliceData(f.Memory())))
	if !found {
		t.Fatal("the mapping is not listed")
	}
	_, rss, _ := strings.Cut(ours, "Rss:")
	if _, err := fmt.Sscan(rss, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes
}

// Get reads a value that is not in memory with a system call. It touches no page that
// would have to come from disk.
func TestColdGetTouchesNoPage(t *testing.T) {
	s := evicted(t, coldFixture(t), unwatched())
	key, value := numbered(504, 700_000)
	l := s.catalog.Set()
	long := l.File(l.Keys.Get(s.hasher.Fingerprint(key)))
	get := func() {
		if got, err := s.Get(key); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	long.Cold.Store(true)
	if get(); mappedPages(t, long) != 0 {
		t.Errorf("a cold Get has touched %d kB", mappedPages(t, long))
	}
	long.Cold.Store(false)
	if get(); mappedPages(t, long) == 0 {
		t.Error("a warm Get has touched nothing")
	}
}

// lockedBytes returns how much of this process's memory is locked.
func lockedBytes(t *testing.T) (bytes_ int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(status, []byte("VmLck:"))
	if _, err := fmt.Sscan(string(after), &bytes_); err != nil {
		t.Fatal(err)
	}
	return bytes_ << 10
}

func TestLockMemory(t *testing.T) {
	dir := coldFixture(t)
	o := byHand()
	o.LockMemory, o.Preload = true, true
	before := lockedBytes(t)
	s := open(t, dir, o)
	var limits int64
	for _, f := range s.catalog.Set().Order {
		limits += f.Limit()
	}
	opened := lockedBytes(t) - before
	if opened < limits {
		t.Errorf("%d bytes of %d are locked", opened, limits)
	}
	fill(t, s, 1000, 1200, 300)
	if more := lockedBytes(t) - before; more <= opened {
		t.Errorf("%d bytes are locked when new segments have come, and %d before", more, opened)
	}
}

// Pages that were written, or that are in memory when a store opens, are in the page
// tables before the first read.
func TestPagesArePopulatedAhead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{Compaction: Compaction{Disabled: true}})
	fill(t, s, 0, 8_000, 1000)
	populated := func(s *Store) {
		t.Helper()
		f := s.catalog.Set().Order[0]
		if f.Memory() == nil {
			return // not mapped
		}
		waitFor(t, "the pages to be populated", func() bool { return mappedPages(t, f) >= 7_000 })
	}
	populated(s)
	closeStore(t, s)
	populated(open(t, dir, nil))
}
