// Package vfs is every question the store asks the operating system, behind
// three small interfaces: a file system opens a directory, a directory opens
// files, a file is read, written, synced and mapped.
//
// What must hold, for the real one and for every test disk:
//
//   - A Dir never reaches outside its directory. Names have no separator, are
//     not "." or "..", and neither a symbolic link nor anything but a regular
//     file is ever opened under one.
//   - Every error wraps the errno that caused it, so errors.Is works with
//     syscall.ENOSPC, fs.ErrNotExist and their like, and names the path.
//   - Durability has exactly three doors. File.Datasync makes the file's bytes
//     and its length durable. Dir.Sync makes the directory's entries durable:
//     a created, renamed or removed name is not safe before it. Nothing else
//     promises anything.
//   - WriteAt is one pwrite(2): it may write less than it was given and say nil.
//     WriteFull loops.
//   - A Mapping shows what is written to its file afterwards. Touching bytes
//     behind the end of the file faults; the caller stays below the length that
//     it has written or checked.
//   - Files, directories and locks may be used by several goroutines at once;
//     Close is called once, after the last use.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked is what Dir.Lock returns while another holder, in this process or
// another one, keeps a lock that excludes the wanted one.
var ErrLocked = errors.New("vfs: locked by another holder")

// ErrMappingLimit is what File.Map returns when the stores of this process have
// used up their share of the mappings that the system grants a process. The file
// can still be read with ReadAt.
var ErrMappingLimit = errors.New("vfs: the process has no mapping to spare")

// FS finds and makes directories.
type FS interface {
	// OpenDir opens a directory; fs.ErrNotExist when it is absent.
	OpenDir(path string) (Dir, error)
	// Mkdir makes one directory, mode 0700, whose parent exists; fs.ErrExist
	// when the name is taken. It is durable after the parent's Sync.
	Mkdir(path string) error
}

// Dir is an open directory. Its methods take bare names.
type Dir interface {
	// Create makes a new regular file, mode 0600, and opens it for reading and
	// writing; fs.ErrExist when the name is taken.
	Create(name string) (File, error)
	// Open opens an existing regular file for reading and writing.
	Open(name string) (File, error)
	// OpenReadOnly opens an existing regular file for reading.
	OpenReadOnly(name string) (File, error)
	// Rename gives a file another name, replacing what had it.
	Rename(oldName, newName string) error
	// Remove unlinks a file; fs.ErrNotExist when it is absent.
	Remove(name string) error
	// Names lists the directory, sorted.
	Names() ([]string, error)
	// Sync makes all changes to the directory's entries durable.
	Sync() error
	// Lock takes a lock on a file of this directory and does not wait:
	// ErrLocked when somebody else's excludes it. The exclusive lock creates the
	// file when it is absent; the shared one creates nothing and returns
	// fs.ErrNotExist. The file is never removed and its content means nothing.
	Lock(name string, mode LockMode) (Lock, error)
	// Close releases the descriptor. Files opened through the Dir live on.
	Close() error
}

// LockMode says who else may hold the lock.
type LockMode int

const (
	Exclusive LockMode = iota // nobody else
	Shared                    // other shared holders
)

// Lock is a held lock.
type Lock interface {
	// Unlock gives the lock back, also when a forked child still holds a copy
	// of the descriptor.
	Unlock() error
}

// File is an open regular file.
type File interface {
	io.ReaderAt
	// WriteAt is one pwrite: n may be less than len(p) with a nil error.
	WriteAt(p []byte, offset int64) (n int, err error)
	// Size is the length of the file in bytes.
	Size() (int64, error)
	// Truncate cuts or extends the file to the given length.
	Truncate(size int64) error
	// Allocate reserves blocks for the bytes [0, size), extending the file with
	// zeros up to there, so that writing them cannot fail for want of room. It
	// never shortens the file. On an error no byte below the old length has
	// changed; the length may have.
	Allocate(size int64) error
	// SlowFirstWrite says that a Datasync takes longer behind the first write to
	// bytes that Allocate reserved than behind later writes there, none of which
	// needs more room.
	SlowFirstWrite() bool
	// Datasync makes the bytes and the length durable. After an error nothing
	// is known about any byte written since the last success, and calling it
	// again proves nothing.
	Datasync() error
	// Map maps the bytes [0, size) read-only; size may lie behind the end of
	// the file and is more than zero.
	Map(size int64) (Mapping, error)
	// Close releases the descriptor; mappings live on.
	Close() error
}

// Mapping is a range of memory that shows a file.
type Mapping interface {
	// Bytes is the memory: readable until Unmap, never writable.
	Bytes() []byte
	// Unmap ends the mapping. For a while the address range faults rather than
	// showing another file. Call it once, when nobody can touch Bytes any more.
	Unmap() error
}

// Advice is what a File or a Mapping may understand beyond its duties. It changes
// how fast something is and never what it does, so that nobody asks whether it
// was taken. A test disk may leave it out.
type (
	populator interface{ populate(from, to int64) }
	locker    interface{ lock() error }
	flusher   interface{ flush(offset, size int64) }
	residence interface{ resident(to int64) float64 }
	evicter   interface{ evict() }
)

// Populate reads the bytes [from, to) of a mapping into memory, if they are not
// there, and brings their pages into this process's page tables, so that the first
// reads of them take no fault.
func Populate(m Mapping, from, to int64) {
	if p, ok := m.(populator); ok {
		p.populate(from, to)
	}
}

// LockPages keeps the pages of a mapping in memory from when they are first there, as
// far as its file has them and the system lets the process have so many.
func LockPages(m Mapping) error {
	if l, ok := m.(locker); ok {
		return l.lock()
	}
	return errors.ErrUnsupported
}

// Flush begins to write the bytes [offset, offset+size) to the disk, so that the
// next Datasync finds less to do. It makes nothing durable.
func Flush(f File, offset, size int64) {
	if d, ok := f.(flusher); ok {
		d.flush(offset, size)
	}
}

// Resident is the part of a file's first bytes, up to the given one, that lies in
// the page cache, from 0 to 1; 1 where that cannot be told.
func Resident(f File, to int64) float64 {
	if r, ok := f.(residence); ok && to > 0 {
		return r.resident(to)
	}
	return 1
}

// Evict takes a file that is on disk out of the page cache.
func Evict(f File) {
	if e, ok := f.(evicter); ok {
		e.evict()
	}
}

// WriteFull writes all of p at the offset, going on after short writes. It
// returns how many bytes were written before the error.
func WriteFull(f File, p []byte, offset int64) (written int, err error) {
	for written < len(p) {
		n, err := f.WriteAt(p[written:], offset+int64(written))
		written += n
		if err != nil {
			return written, err
		}
		if n == 0 {
			return written, io.ErrShortWrite
		}
	}
	return written, nil
}

// BlockSize is the unit in which most file systems give files room, in bytes. A file takes
// about one block besides its content.
const BlockSize = 4 << 10

// OnDisk rounds a file's length up to whole blocks.
func OnDisk(bytes int64) int64 { return (bytes + BlockSize - 1) &^ (BlockSize - 1) }
