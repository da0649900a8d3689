//go:build !linux

package rig

import (
	"errors"
	"os"
)

// CanEvict reports whether Evict does anything.
const CanEvict = false

// Evict does nothing: the system has no call for it.
func Evict(string) error { return nil }

// OpenWritten opens a file of size bytes to read it.
func OpenWritten(path string) (f *os.File, size int64, err error) {
	if f, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	about, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, about.Size(), nil
}
