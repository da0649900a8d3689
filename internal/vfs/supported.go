package vfs

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
)

// OS is the file system of the machine. Where no store can be kept it refuses
// everything, and its error, which is errors.ErrUnsupported, names the system.
//
// A store needs 64 bits: segments, values and mappings of up to 4 GiB are as long
// as an int says, and the mapped segments of one store alone may need more
// addresses than 32 bits have.
func OS() FS {
	if strconv.IntSize < 64 {
		return unsupported{"stores need a 64-bit system"}
	}
	return system()
}

// unsupported refuses everything, and says why.
type unsupported struct{ why string }

func (u unsupported) OpenDir(string) (Dir, error) { return nil, u.err() }
func (u unsupported) Mkdir(string) error          { return u.err() }

func (u unsupported) err() error {
	return fmt.Errorf("mmapkv: %s/%s is not supported: %s: %w", runtime.GOOS, runtime.GOARCH, u.why, errors.ErrUnsupported)
}
