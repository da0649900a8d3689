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
