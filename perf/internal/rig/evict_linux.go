package rig

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CanEvict says whether Evict does anything.
const CanEvict = true

// Evict writes back the files of a directory and drops what the system has of them
// in memory. What somebody has mapped stays.
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

// OpenWritten opens a file to read what was written of it, of which there are size
// bytes: the room that was taken ahead behind that is left out of it, and out of the
// system's memory, where it would make the writes that are to come slower.
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
