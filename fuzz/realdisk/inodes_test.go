//go:build linux

package realdisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestNoInodesLeft takes the last inode of a file system that still has blocks. Writes that
// need a new file are refused, all keys can be deleted, Close and Open work, and with free
// inodes writes work again.
func TestNoInodesLeft(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		t.Run(policy.String(), func(t *testing.T) {
			disk := t.TempDir()
			if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64m,nr_inodes=200"); err != nil {
				lacks(t, fmt.Sprint("mounting tmpfs: ", err))
			}
			t.Cleanup(func() {
				if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			options := mmapkv.Options{SegmentSize: 16 << 10, Sync: policy}
			options.Compaction.Disabled = true
			s := openChecked(t, filepath.Join(disk, "store"), options)
			s.mustPut(300, 1000)
			fillers := takeInodes(t, filepath.Join(disk, "filler"))
			refused := s.putUntil(syscall.ENOSPC)
			fillers = append(fillers, takeInodes(t, filepath.Join(disk, "last"))...)
			s.compare(refused)
			keys := s.keys()
			s.deleteAll(keys[:len(keys)/2])
			s.mustClose()
			s.open()
			s.compare(refused)
			s.deleteAll(s.keys())
			s.mustClose()
			s.open()
			s.compare(refused)
			for _, name := range fillers {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
			s.mustPut(300, 1000)
			s.compare(refused)
			s.mustClose()
		})
	}
}

// takeInodes creates empty files until no inode is left.
func takeInodes(t *testing.T, prefix string) (names []string) {
	t.Helper()
	for {
		name := fmt.Sprint(prefix, len(names))
		f, err := os.Create(name)
		if errors.Is(err, syscall.ENOSPC) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
}
