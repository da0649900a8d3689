package mmapkv

import (
	"errors"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// reserveSize is the room, in bytes, that is kept for tombstones, a hint and
// manifests when the disk is full: emptying a store must always be possible.
const reserveSize = 32 << 10

// reserve is a file that occupies room to be given back in need. Guarded by the
// maintenance lock.
type reserve struct {
	dir  vfs.Dir
	held bool
}

// hold takes the room, again if it was given back. Failing is no error: a disk
// that is full already has nothing to keep.
func (r *reserve) hold() bool {
	if r.held {
		return true
	}
	f, err := r.dir.Open(segment.ReserveName)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = r.dir.Create(segment.ReserveName)
	}
	if err != nil {
		return false
	}
	defer f.Close()
	r.held = f.Allocate(reserveSize) == nil
	return r.held
}

// release gives the room back and says whether there was any.
func (r *reserve) release() bool {
	if !r.held {
		return false
	}
	r.held = false
	return r.dir.Remove(segment.ReserveName) == nil
}
