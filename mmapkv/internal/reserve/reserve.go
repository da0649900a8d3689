// Package reserve holds disk blocks back, so that Delete, Close and Open still work on a full disk.
//
// What must hold:
//
//   - A put takes nothing from the reserve. It first lets the whole reserve be restored, so room
//     that somebody frees goes to the reserve before it goes to values.
//   - However many deletes there were, Close and the next Open find the room they need.
//
// # Blocks
//
// The reserve is a file that nobody reads. It occupies blocks, and is cut shorter by what is
// needed.
//
// Its last bytes, deleteRoom of them, are for tombstones. A delete makes the tail longer by the
// blocks that it needs and no more, or begins a new file, which takes a block.
//
// The rest, ManifestRoom, is only for the manifest and for recovery. Most edits of the manifest
// need no room, since MANIFEST has room to append them. A full copy needs room for one manifest
// beside the old one, and gives that back at once; then the reserve is restored. There is room for
// two manifests, because another part of the store, or another process, may be faster in the moment
// when a manifest's room is free. There is also room for the file to which recovery copies what was
// not known to be on disk, which under fsync.Always is the last group.
//
// When deletes have used up their room, Compactor.MakeRoom finds more: it removes files of
// which nothing is needed, and then hints, which only costs the next Open time. A key takes more in
// a hint than in a tombstone. So the number of keys does not limit how many can be deleted.
//
// # Files
//
// A file system can also lack room for another file, however many blocks it has: it is out of
// inodes. So there are empty files that make way for others: one for the file that a delete begins,
// and one for the file that recovery copies to. A full copy of the manifest takes any of them, or
// else the reserve itself. They are created again once there is room: after a full copy that is at
// once, since the old one is gone. Here too Compactor.MakeRoom finds more.
package reserve

import (
	"errors"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

const (
	// Size is the size of the reserve in bytes while the manifest is as small as it can be.
	Size = deleteRoom + 2*segment.MinManifestSize + NewFileRoom
	// NewFileRoom is the number of bytes that a file takes if it is begun on a full disk.
	NewFileRoom = 2 * vfs.BlockSize

	deleteRoom = 4 * vfs.BlockSize
)

// Reserve is the file that occupies blocks, with the empty files. All methods may be called by any
// number of goroutines at once.
type Reserve struct {
	dir vfs.Dir

	mu       rank.Mutex[rank.Reserve] // guards the rest
	held     bool                     // the file exists
	Known    bool                     // size is its size
	size     int64                    // in bytes
	spares   bool                     // the empty files exist
	manifest int64                    // the size of the manifest, in bytes
}

// New makes the reserve of a directory. It holds nothing yet.
func New(dir vfs.Dir) *Reserve { return &Reserve{dir: dir} }

// Found notes that the file exists. Its size is not known yet.
func (r *Reserve) Found() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
}

// ManifestRoom returns how many bytes deletes leave for the manifest and for recovery.
func (r *Reserve) ManifestRoom() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifestRoomLocked()
}

func (r *Reserve) manifestRoomLocked() int64 {
	return 2*vfs.OnDisk(max(r.manifest, segment.MinManifestSize)) + NewFileRoom
}

// Hold fills the reserve up: it takes the room for it, or takes back what was given away. On a full
// disk it takes the blocks that there are, and returns an error that errno.OutOfSpace accepts.
func (r *Reserve) Hold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holdLocked()
}

func (r *Reserve) holdLocked() error {
	defer r.holdSparesLocked()
	wanted := deleteRoom + r.manifestRoomLocked()
	if r.Known && r.size >= wanted {
		return nil
	}
	return r.change(func(f vfs.File) error { return r.growLocked(f, wanted) })
}

// change opens or creates the file, finds its size, and calls fn.
func (r *Reserve) change(fn func(f vfs.File) error) error {
	f, err := r.dir.Open(segment.ReserveName)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = r.dir.Create(segment.ReserveName)
	}
	if err != nil {
		return err
	}
	if r.size, err = f.Size(); err == nil {
		r.held, r.Known = true, true
		err = fn(f)
	}
	return errors.Join(err, f.Close())
}

// growLocked grows the file to the wanted size, at once or by the blocks that there are. If a limit
// of the process forbids that size, growLocked goes as far as it may and returns no error for that,
// which says nothing about the room on the disk.
func (r *Reserve) growLocked(f vfs.File, wanted int64) error {
	err := f.Allocate(wanted)
	if !errno.OutOfSpace(err) {
		if err == nil {
			r.size = max(r.size, wanted)
		}
		return err
	}
	for r.size < wanted {
		if f.Allocate(min(r.size+vfs.BlockSize, wanted)) != nil {
			break
		}
		r.size = min(r.size+vfs.BlockSize, wanted)
	}
	if r.size >= wanted {
		return nil
	}
	// A call that failed may have grown it.
	failed := f.Truncate(r.size)
	if errors.Is(err, errno.EFBIG) {
		return failed
	}
	return errors.Join(err, failed)
}

// holdSparesLocked creates the empty files. It returns no error: whoever needs a new file
// will see that there is none.
func (r *Reserve) holdSparesLocked() {
	for i := 0; i < segment.SpareFiles && !r.spares; i++ {
		f, err := r.dir.Create(segment.SpareName(i))
		if err == nil {
			_ = f.Close() // it is empty
		} else if !errors.Is(err, fs.ErrExist) {
			return
		}
		r.spares = i == segment.SpareFiles-1
	}
}

// Give cuts the given number of bytes off the file, in whole blocks, unless that would leave fewer
// than keep. It reports whether it did.
func (r *Reserve) Give(bytes, keep int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return false
	}
	given := false
	err := r.change(func(f vfs.File) error {
		left := r.size - vfs.OnDisk(max(bytes, 1))
		if left < keep {
			return nil
		}
		if err := f.Truncate(left); err != nil {
			return err
		}
		r.size, given = left, true
		return nil
	})
	return err == nil && given
}

// GiveFile removes an empty file to make way for another, unless that would leave fewer than keep.
// It reports whether it did.
func (r *Reserve) GiveFile(keep int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spares = false
	for i := segment.SpareFiles - 1; i >= keep; i-- {
		if r.dir.Remove(segment.SpareName(i)) == nil {
			return true
		}
	}
	return false
}

// GiveAll removes the reserve itself, with all its blocks, to make way for another file. It reports
// whether it did.
func (r *Reserve) GiveAll() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held || r.dir.Remove(segment.ReserveName) != nil {
		return false
	}
	r.held, r.size = false, 0
	return true
}

// Release makes way for a new file of deletes. First, with tried 0, it gives blocks from the room
// for tombstones. If that is impossible or was tried, it removes an empty file. It reports whether
// it did either.
func (r *Reserve) Release(tried int) bool {
	return tried == 0 && r.Give(NewFileRoom, r.ManifestRoom()) || r.GiveFile(1)
}

// Restore notes the size of the manifest in bytes, and then fills the reserve up as far as there is
// room, unless it was never opened.
func (r *Reserve) Restore(manifest int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifest = manifest
	if r.Known {
		_ = r.holdLocked() // whoever needs the reserve next tries again
	}
}
