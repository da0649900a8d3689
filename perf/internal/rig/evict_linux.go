package rig

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CanEvict reports whether Evict does anything.
const CanEvict = true

// Evict writes back the files of a directory and drops them from the page cache.
// Mapped pages stay.
func Evict(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
}

// OpenWritten opens a file to read the size bytes that were written. It leaves out the
// preallocated space after them, and keeps it out of the page cache, where it would
// slow down later writes.
func OpenWritten(path string) (f *os.File, size int64, err error) {
	if f, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	if size, err = f.Seek(0, unix.SEEK_HOLE); err == nil {
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // do not read ahead
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}
