//go:build linux && !race && !invariants

// Race builds, and callbacks under the invariants tag, read heap copies, which never fault.

package realdisk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestReadError cuts off the end of a disk under an open store. Reads of data there fail, other
// reads work, and once the disk is whole again all work.
func TestReadError(t *testing.T) {
	if !alone(t) {
		return
	}
	d := newDisk(t)
	s := openChecked(t, filepath.Join(d.dir, "store"), mmapkv.Options{SegmentSize: 64 << 10, Sync: fsync.Never})
	s.mustPut(1000, 3000)
	s.mustClose()
	// Remount, so that the content is on the disk and in no cache.
	d.unmount()
	image := d.image()
	d.mount()

	cut, whole, lost := s.cutInHalf(image)
	s.dropCaches() // otherwise the store would map pages that are in memory, which would stay there
	// Nothing reads in the background: where a request goes past the end of a cut disk, the kernel
	// may fill pages with zeros, and keeps them when the disk is whole again.
	inject.Into(&s.options, &inject.Seams{Manual: true})
	s.open()
	for _, segment := range s.Stats().Segments {
		if !segment.Mapped {
			t.Errorf("%s is not mapped", segment.File)
		}
	}
	s.dropCaches()
	if err := d.backing.Truncate(cut); err != nil {
		t.Fatal(err)
	}
	s.readEach(whole, lost)
	s.keysOf(whole)
	if err := s.Range(func(_, _ []byte) error { return nil }); !errors.Is(err, mmapkv.ErrCorrupt) {
		t.Errorf("Range: %v", err)
	}

	if _, err := d.backing.WriteAt(image[cut:], cut); err != nil {
		t.Fatal(err)
	}
	s.compare(nil)
	s.mustClose()
}

// cutInHalf finds the place on the disk with as many segments after it as before, and the keys
// of segments that lie wholly before it, or wholly after it.
func (s *checkedStore) cutInHalf(image []byte) (cut int64, whole, lost []string) {
	s.t.Helper()
	var extents []extent
	for _, name := range s.segmentFiles() {
		extents = append(extents, s.locate(name, image))
	}
	slices.SortFunc(extents, func(a, b extent) int { return a.first - b.first })
	middle := extents[len(extents)/2].first
	for _, key := range s.keys() {
		record := []byte(key + s.want[key])
		i := slices.IndexFunc(extents, func(e extent) bool { return bytes.Contains(e.content, record) })
		switch e := extents[i]; {
		case e.first >= middle:
			lost = append(lost, key)
		case e.last < middle:
			whole = append(whole, key)
		}
	}
	if len(whole) < len(s.want)/10 || len(lost) < len(s.want)/10 {
		s.t.Fatalf("of %d keys %d are whole and %d lost", len(s.want), len(whole), len(lost))
	}
	return int64(middle), whole, lost
}

// extent is where a file lies on the disk, from its first page to its last.
type extent struct {
	content     []byte
	first, last int
}

// locate finds a file's pages by their content.
func (s *checkedStore) locate(name string, image []byte) extent {
	s.t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	e := extent{content: content, first: len(image)}
	for page := range slices.Chunk(content, os.Getpagesize()) {
		place := bytes.Index(image, page)
		if place < 0 {
			s.t.Fatalf("a page of %s is not on the disk", name)
		}
		e.first, e.last = min(e.first, place), max(e.last, place)
	}
	return e
}

func (s *checkedStore) segmentFiles() []string {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "*.seg"))
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

// dropCaches makes the kernel drop the segments from the page cache.
func (s *checkedStore) dropCaches() {
	s.t.Helper()
	for _, name := range s.segmentFiles() {
		f, err := os.Open(name)
		if err != nil {
			s.t.Fatal(err)
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// readEach reads each key in each way, in several goroutines at once. It expects the values of
// the whole keys, and errors for the lost ones.
func (s *checkedStore) readEach(whole, lost []string) {
	s.t.Helper()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range max(len(whole), len(lost)) {
				s.readBy(whole[i%len(whole)], false)
				s.readBy(lost[i%len(lost)], true)
			}
		})
	}
	readers.Wait()
}

// keysOf checks that Keys yields at least these keys, and none that was never put.
func (s *checkedStore) keysOf(whole []string) {
	s.t.Helper()
	shown := map[string]bool{}
	for key := range s.Keys() {
		if shown[string(key)] = true; s.want[string(key)] == "" {
			s.t.Errorf("Keys yields %q", key)
		}
	}
	for _, key := range whole {
		if !shown[key] {
			s.t.Errorf("Keys does not yield %s", key)
		}
	}
}

func (s *checkedStore) readBy(key string, lost bool) {
	want := s.want[key]
	got, getErr := s.Get([]byte(key))
	appended, appendErr := s.AppendGet([]byte("kept "), []byte(key))
	viewed := ""
	viewErr := s.View([]byte(key), func(value []byte) error { viewed = string(value); return nil })
	has, hasErr := s.Has([]byte(key))
	ttl, expires, ttlErr := s.TTL([]byte(key))
	for what, read := range map[string]struct {
		got, want string
		err       error
	}{
		"Has":       {fmt.Sprint(has), "true", hasErr},
		"TTL":       {fmt.Sprint(ttl, expires), "0s false", ttlErr},
		"Get":       {string(got), want, getErr},
		"AppendGet": {string(appended), "kept " + want, appendErr},
		"View":      {viewed, want, viewErr},
	} {
		switch {
		case lost && !errors.Is(read.err, mmapkv.ErrCorrupt):
			s.t.Errorf("%s of the lost %s: %.40q, %v", what, key, read.got, read.err)
		case !lost && (read.err != nil || read.got != read.want):
			s.t.Errorf("%s of %s: %.40q, %v", what, key, read.got, read.err)
		}
	}
	if lost && string(appended) != "kept " {
		s.t.Errorf("AppendGet of the lost %s returned %.40q", key, appended)
	}
}
