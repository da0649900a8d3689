package vfs

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
)

// OS returns the file system of the machine. On an unsupported system every call fails with an
// error that wraps errors.ErrUnsupported and names the system.
//
// A store needs 64 bits: an int must hold the lengths of segments, values and mappings of up to
// 4 GiB, and the mapped segments of one store may need more than 32 bits of address space.
func OS() FS {
	if strconv.IntSize < 64 {
		return unsupported{"stores need a 64-bit system"}
	}
	return system()
}

// unsupported fails every call, and says why.
type unsupported struct{ why string }

func (u unsupported) OpenDir(string) (Dir, error) { return nil, u.err() }
func (u unsupported) Mkdir(string) error          { return u.err() }

func (u unsupported) err() error {
	return fmt.Errorf("mmapkv: %s/%s is not supported: %s: %w", runtime.GOOS, runtime.GOARCH, u.why, errors.ErrUnsupported)
}
