package mmapkv

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// reserveSize is the room, in bytes, that is kept for tombstones, a hint and
// manifests when the disk is full: emptying a store must always be possible.
const reserveSize = 32 << 10

// reserve is a file that occupies room to be given back in need.
type reserve struct {
	dir vfs.Dir

	mu   sync.Mutex // guards held
	held bool
}

// hold takes the room, again if it was given back.
func (r *reserve) hold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		return nil
	}
	f, err := r.dir.Open(segment.ReserveName)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = r.dir.Create(segment.ReserveName)
	}
	if err != nil {
		return err
	}
	err = errors.Join(f.Allocate(reserveSize), f.Close())
	r.held = err == nil
	return err
}

// release gives the room back and says whether there was any.
func (r *reserve) release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return false
	}
	r.held = false
	return r.dir.Remove(segment.ReserveName) == nil
}
