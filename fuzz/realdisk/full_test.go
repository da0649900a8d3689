//go:build linux

package realdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestFullDisk fills a disk to the last page. What does not fit is refused and never seen, what
// was there stays, Delete works, and once there is space writes work again.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, size := range []int64{512 << 10, 1 << 20, 2 << 20} {
		for _, policy := range policies {
			t.Run(fmt.Sprint(size>>10, " KiB, ", policy), func(t *testing.T) { checkFullDisk(t, size, policy) })
		}
	}
}

func checkFullDisk(t *testing.T, size int64, policy fsync.Policy) {
	disk := t.TempDir()
	mountTmpfs(t, disk, size)
	filler := filepath.Join(disk, "filler")
	fillUp(t, filler, 160<<10)
	s := openChecked(t, filepath.Join(disk, "store"), mmapkv.Options{SegmentSize: 64 << 10, Sync: policy})
	refused := s.putUntil(syscall.ENOSPC)
	fillUp(t, filepath.Join(disk, "last pages"), size)
	refused = append(refused, s.putUntil(syscall.ENOSPC)...)
	s.deleteSome(200)
	s.compare(refused)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.mustPut(20, 1000)
	s.compare(refused)
	s.mustClose()
	s.open()
	s.compare(refused)

	refused = append(refused, s.putUntil(syscall.ENOSPC)...)
	s.deleteSome(20)
	s.mustClose()
	s.open()
	s.compare(refused)
}

// TestEmptyFullDisk fills a disk with nothing but the store, and deletes all keys, with a stop
// on the way. Wherever it stops, what a kill would leave can be opened, Close and Open work,
// and the deletes can continue.
func TestEmptyFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, size := range []int64{512 << 10, 1 << 20, 2 << 20} {
		for _, policy := range policies {
			for _, order := range orders {
				for _, background := range []bool{false, true} {
					step := int(size / 1000) // one or two stops, the first at the beginning
					if policy == fsync.Always && order.name == "oldest first" {
						step = 37 // many stops
					}
					if policy != fsync.Always && size > 512<<10 {
						continue
					}
					options := mmapkv.Options{SegmentSize: 64 << 10, Sync: policy}
					options.Compaction.Disabled = !background
					t.Run(fmt.Sprint(size>>10, " KiB, ", policy, ", ", order.name, ", compaction ", background), func(t *testing.T) {
						for stop := 0; emptyFullDisk(t, size, options, order.of, stop); stop += step {
						}
					})
				}
			}
		}
	}
}

// orders are the orders in which keys, sorted by age, are deleted.
var orders = []struct {
	name string
	of   func(keys []string)
}{
	{"oldest first", func([]string) {}},
	{"newest first", slices.Reverse[[]string]},
	{"in any order", func(keys []string) {
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	}},
}

// emptyFullDisk fills a disk and empties it again, with a stop on the way. It reports whether
// keys were left to delete after the stop.
func emptyFullDisk(t *testing.T, size int64, options mmapkv.Options, order func(keys []string), stop int) (more bool) {
	t.Helper()
	disk := t.TempDir()
	unmount := mountOver(t, disk, size)
	s := openChecked(t, filepath.Join(disk, "store"), options)
	s.fill()
	keys := s.keys()
	order(keys)
	more = stop < len(keys)
	stop = min(stop, len(keys))
	s.deleteAll(keys[:stop])
	if options.Sync == fsync.Always {
		s.openKilled(size)
	}
	s.mustClose()
	s.open()
	s.compare(nil)
	s.deleteAll(keys[stop:])
	s.compare(nil)
	s.mustClose()
	s.open()
	s.compare(nil)
	s.mustClose()
	unmount()
	return more
}

// openKilled opens a copy of the store as it is, on another disk of the given size.
func (s *checkedStore) openKilled(size int64) {
	s.t.Helper()
	disk := s.t.TempDir()
	unmount := mountOver(s.t, disk, size)
	copied := *s
	copied.dir = filepath.Join(disk, "store")
	// The copy is consistent if no edit was made and no file removed during it.
	for before := s.manifest(); ; before = s.manifest() {
		err := os.CopyFS(copied.dir, os.DirFS(s.dir))
		if err == nil && bytes.Equal(before, s.manifest()) {
			break
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOSPC) {
			s.t.Fatal(err)
		}
		if err := os.RemoveAll(copied.dir); err != nil {
			s.t.Fatal(err)
		}
	}
	copied.open()
	copied.compare(nil)
	copied.mustClose()
	unmount()
}

func (s *checkedStore) manifest() []byte {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "MANIFEST"))
	if err != nil {
		s.t.Fatal(err)
	}
	return content
}

// deleteAll deletes the keys in order.
func (s *checkedStore) deleteAll(keys []string) {
	s.t.Helper()
	for _, key := range keys {
		if err := s.Delete([]byte(key)); err != nil {
			s.t.Fatalf("Delete(%s), of %d keys, on a full disk: %v", key, len(s.want), err)
		}
		delete(s.want, key)
		s.wantAbsent(key)
	}
}

// fill puts values of 1000 bytes until the disk is full.
func (s *checkedStore) fill() {
	s.t.Helper()
	for {
		if key, err := s.putNew(1000); errors.Is(err, syscall.ENOSPC) && !errors.Is(err, mmapkv.ErrFailed) {
			return
		} else if err != nil {
			s.t.Fatalf("Put(%s): %v", key, err)
		}
	}
}

// TestFileSizeLimit lowers RLIMIT_FSIZE below the segment size, and below the length of the
// current segment. The log continues in files of the allowed length, and Delete works. Longer
// records are refused.
func TestFileSizeLimit(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		for _, limit := range []uint64{50_001, 49_152, 20_000, 8192} {
			t.Run(fmt.Sprint(policy, ", ", limit), func(t *testing.T) {
				s := openChecked(t, t.TempDir(), mmapkv.Options{SegmentSize: 1 << 20, Sync: policy})
				s.mustPut(40, 1000)
				restore := limitFileSize(t, limit)
				defer restore()
				s.mustPut(100, 1000)
				s.deleteSome(30)
				key, err := s.putNew(60_000)
				s.wantNoRoom(key, err, syscall.EFBIG)
				long, err := s.putNew(400_000) // a value that gets a file of its own
				s.wantNoRoom(long, err, syscall.EFBIG)
				s.mustPut(20, 1000)
				s.compare([]string{key, long})
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				s.mustClose()
				s.open()
				s.mustPut(20, 1000)
				s.deleteSome(30)
				s.compare([]string{key, long})
				restore()
				s.mustPut(200, 1000)
				s.mustClose()
				s.open()
				s.compare([]string{key, long})
			})
		}
	}
}

// TestFileSizeLimitBelowAnyFile lowers RLIMIT_FSIZE below what a new file needs. Every write
// returns EFBIG, nothing is lost, and with a higher limit everything works again.
func TestFileSizeLimitBelowAnyFile(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		for _, limit := range []uint64{0, 32, 64, 100} {
			t.Run(fmt.Sprint(policy, ", ", limit), func(t *testing.T) {
				s := openChecked(t, t.TempDir(), mmapkv.Options{SegmentSize: 64 << 10, Sync: policy})
				s.mustPut(20, 1000)
				restore := limitFileSize(t, limit)
				defer restore()
				var refused []string
				for range 5 {
					key, err := s.putNew(1000)
					s.wantNoRoom(key, err, syscall.EFBIG)
					refused = append(refused, key)
					if err := s.Delete([]byte(s.keys()[0])); !errors.Is(err, syscall.EFBIG) || errors.Is(err, mmapkv.ErrFailed) {
						t.Fatalf("Delete: %v", err)
					}
				}
				s.compare(refused)
				restore()
				s.mustPut(100, 1000)
				s.deleteSome(30)
				s.compare(refused)
				s.mustClose()
				s.open()
				s.compare(refused)
			})
		}
	}
}

// TestFileSizeLimitInReservedRoom lowers RLIMIT_FSIZE of the running process into the space
// reserved for a segment, so that only a part of a write fits. The log continues in another
// file, and nothing is refused.
func TestFileSizeLimitInReservedRoom(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, kind := range []fileSystem{ext4, xfs} {
		for _, policy := range policies {
			t.Run(fmt.Sprint(kind.name, ", ", policy), func(t *testing.T) {
				d := newDiskOf(t, kind)
				s := openChecked(t, d.dir+"/store", mmapkv.Options{SegmentSize: 4 << 20, Sync: policy})
				s.mustPut(300, 1000) // 512 KiB are reserved
				restore := limitFileSize(t, 450_001)
				s.mustPut(200, 1000)
				s.deleteSome(150)
				s.compare(nil)
				restore()
				s.mustPut(200, 1000)
				s.mustClose()
				s.open()
				s.compare(nil)
			})
		}
	}
}

func limitFileSize(t *testing.T, size uint64) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: size, Max: old.Max})
	return func() { set(old) }
}

// putUntil puts values of decreasing sizes until each size is refused because of the cause, and
// returns the refused keys.
func (s *checkedStore) putUntil(cause error) (refused []string) {
	s.t.Helper()
	for size := 4000; size > 0; size /= 4 {
		for {
			key, err := s.putNew(size)
			if err == nil {
				continue
			}
			s.wantNoRoom(key, err, cause)
			refused = append(refused, key)
			break
		}
		s.compare(refused)
	}
	return refused
}

// wantNoRoom checks the error of a Put that does not fit.
func (s *checkedStore) wantNoRoom(key string, err, cause error) {
	s.t.Helper()
	if !errors.Is(err, cause) || errors.Is(err, mmapkv.ErrFailed) {
		s.t.Fatalf("Put(%s) without space: %v", key, err)
	}
}

// deleteSome deletes up to count keys, the oldest first.
func (s *checkedStore) deleteSome(count int) {
	s.t.Helper()
	keys := s.keys()
	s.deleteAll(keys[:min(count, len(keys))])
}

// fillUp creates a file of size bytes, or as many as fit.
func fillUp(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := slices.Repeat([]byte{1}, os.Getpagesize()); size > 0; size -= int64(len(page)) {
		if _, err := f.Write(page); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
