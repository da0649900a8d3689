// Package reserve holds disk blocks back for a full disk.
//
// On a full disk Delete, Close and Open still work: a file that nobody reads
// occupies room for them, and is cut shorter by what they need.
//
// Its last bytes, deleteRoom of them, are for tombstones: a delete makes the tail
// longer by the blocks that it needs and no more, or begins a new file, which
// takes one. A put takes nothing, and has the whole reserve restored first, so
// that room which somebody makes goes to the reserve before it goes to values.
//
// The rest, manifestRoom, is only for the manifest and for recovery. Most edits need
// no room, since they are appended where there is some. A full copy needs
// room for one manifest beside the old one, which it gives back at once; then the
// reserve is restored. There is room for two, because another part of the store,
// or somebody else, may be faster in the moment when a manifest's room is free; and
// for the file to which recovery copies what was not known to be on disk, under
// fsync.Always the last group. So Close, and Open after it, find what they need
// however many deletes there were.
//
// When the tombstones' room is used up, the compactor finds more: files of which nothing
// is needed go, and then hints, which cost the next Open time and nothing else. A
// key takes more in a hint than in a tombstone. So it is not the number of keys
// that bounds how many can be deleted.
//
// A file system can also have no room for another file, whatever blocks it has
// (no inodes). So there are empty files that give way to others: one to the file
// that a delete begins; one to that which recovery copies to; and to a full copy of
// the manifest any of them, or else the reserve itself. They are made again once there
// is room: behind a full copy at once, since the old one is a file less. makeRoom
// finds more here too.
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
	// Size is the size of the reserve in bytes while the manifest is as small
	// as it can be.
	Size       = deleteRoom + 2*segment.MinManifestSize + NewFileRoom
	deleteRoom = 4 * vfs.BlockSize
	// NewFileRoom is what a file takes that is begun on a full disk.
	NewFileRoom = 2 * vfs.BlockSize
)

// Reserve is the file that occupies the room.
type Reserve struct {
	dir vfs.Dir

	// mu guards the rest.
	mu       rank.Mutex[rank.Reserve]
	held     bool // the file is there
	spares   bool // the empty files are there
	Known    bool // size is how long it is
	size     int64
	manifest int64 // the size of the manifest
}

// New makes the reserve of a directory, which holds nothing yet.
func New(dir vfs.Dir) *Reserve { return &Reserve{dir: dir} }

// Found says that Open has found the file. Its size is not known yet.
func (r *Reserve) Found() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
}

// ManifestRoom is what deletes leave for the manifest and for recovery.
func (r *Reserve) ManifestRoom() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifestRoomLocked()
}

func (r *Reserve) manifestRoomLocked() int64 {
	return 2*vfs.OnDisk(max(r.manifest, segment.MinManifestSize)) + NewFileRoom
}

// Hold takes the room, or again what was given of it. On a full disk it takes
// what there is and returns the error.
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

// holdSparesLocked makes the empty files. Nobody fails for want of them: what needs a
// new file finds out.
func (r *Reserve) holdSparesLocked() {
	for i := 0; i < segment.SpareFiles && !r.spares; i++ {
		f, err := r.dir.Create(segment.SpareName(i))
		if err == nil {
			_ = f.Close() // there is nothing in it
		} else if !errors.Is(err, fs.ErrExist) {
			return
		}
		r.spares = i == segment.SpareFiles-1
	}
}

// GiveFile has an empty file give way to another, unless that would leave fewer than
// keep. It says whether it has.
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

// GiveAll has the reserve itself give way to another file, with all its room.
func (r *Reserve) GiveAll() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held || r.dir.Remove(segment.ReserveName) != nil {
		return false
	}
	r.held, r.size = false, 0
	return true
}

// change opens the file, makes it if it is not there, and finds out how long it is.
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

// growLocked makes the file longer, all at once or by as many blocks as there are. One
// that may not become so long, by a limit of the process, is as long as it may be: that
// says nothing of the room on the disk.
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
	// A call that failed may have made it longer.
	failed := f.Truncate(r.size)
	if errors.Is(err, errno.EFBIG) {
		return failed
	}
	return errors.Join(err, failed)
}

// Give cuts the file by so many bytes, in whole blocks, unless that would leave
// less than keep. It says whether it has done so.
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

// Release gives the room of a new file, of what is for deletes, and where that has been
// tried an empty file.
func (r *Reserve) Release(tried int) bool {
	return tried == 0 && r.Give(NewFileRoom, r.ManifestRoom()) || r.GiveFile(1)
}

// Restore takes again what was given, as far as there is room, and notes how large
// the manifest is.
func (r *Reserve) Restore(manifest int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifest = manifest
	if r.Known {
		_ = r.holdLocked() // the next one to need it tries again
	}
}
