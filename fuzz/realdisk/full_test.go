//go:build linux

package realdisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestFullDisk fills a disk to the last page: what does not fit is refused and
// never seen, what was there stays, Delete works, and with room writes work again.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, size := range []int64{512 << 10, 2 << 20} {
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
	// Where no room is left for the manifest, the next Open has more to do.
	if err := s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Close on a full disk: %v", err)
	}
	s.options.ReadOnly = true
	s.open()
	s.compare(refused)
}

// TestFileSizeLimit lowers RLIMIT_FSIZE to less than a segment: it is as a full
// disk, and over when the limit is.
func TestFileSizeLimit(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		t.Run(policy.String(), func(t *testing.T) {
			s := openChecked(t, t.TempDir(), mmapkv.Options{SegmentSize: 64 << 10, Sync: policy})
			s.mustPut(10, 1000)
			restore := limitFileSize(t, 50_001)
			refused := s.putUntil(syscall.EFBIG)
			s.compare(refused)
			restore()
			s.mustPut(200, 1000)
			s.compare(refused)
			s.mustClose()
			s.open()
			s.compare(refused)
		})
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

// putUntil puts values, large ones and then ever smaller ones, until each size is
// refused for the cause, and returns the keys that were.
func (s *checkedStore) putUntil(cause error) (refused []string) {
	s.t.Helper()
	for size := 4000; size > 0; size /= 4 {
		for {
			key, err := s.putNew(size)
			if err == nil {
				continue
			}
			if !errors.Is(err, cause) || errors.Is(err, mmapkv.ErrFailed) {
				s.t.Fatalf("Put(%s) where there is no room: %v", key, err)
			}
			refused = append(refused, key)
			break
		}
		s.compare(refused)
	}
	return refused
}

// deleteSome deletes so many keys, or all, the oldest first.
func (s *checkedStore) deleteSome(count int) {
	s.t.Helper()
	keys := s.keys()
	for _, key := range keys[:min(count, len(keys))] {
		if err := s.Delete([]byte(key)); err != nil {
			s.t.Fatalf("Delete(%s) on a full disk: %v", key, err)
		}
		delete(s.want, key)
		s.wantAbsent(key)
	}
}

// fillUp makes a file of size bytes, or as large as there is room.
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
