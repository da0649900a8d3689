// Package vfs holds all access of the store to files, behind three small interfaces: a file
// system opens a directory, a directory opens files, and a file is read, written, synced and
// mapped.
//
// What must hold, for the real file system and for every test disk:
//
//   - A Dir never reaches outside its directory. Names have no separator and are not "." or
//     "..". A Dir opens only regular files, never symbolic links.
//   - Every error names the path and wraps the errno that caused it, so errors.Is works with
//     syscall.ENOSPC, fs.ErrNotExist and the like.
//   - Only two calls make anything durable. File.Datasync makes the file's bytes and its length
//     durable. Dir.Sync makes the directory's entries durable: a created, renamed or removed
//     name is not safe before it.
//   - WriteAt is one pwrite(2): it may write less than it was given and return nil. WriteFull
//     loops.
//   - A Mapping shows what is written to its file afterwards. Touching bytes past the end of
//     the file faults, so callers stay below the length that they have written or checked.
//   - Files, directories and locks are safe for concurrent use. Callers call Close once, after
//     the last use.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked says that another holder, in this process or another one, has a lock that excludes
// the requested one. Dir.Lock returns it.
var ErrLocked = errors.New("vfs: locked by another holder")

// ErrMappingLimit says that the stores of this process have used up their share of the mappings
// that the system allows a process. File.Map returns it; ReadAt can still read the file.
var ErrMappingLimit = errors.New("vfs: the mappings of the process are used up")

// FS opens and creates directories.
type FS interface {
	// OpenDir opens a directory; fs.ErrNotExist if it is absent.
	OpenDir(path string) (Dir, error)
	// Mkdir creates one directory, mode 0700, whose parent exists; fs.ErrExist if the name is
	// taken. The directory is durable after the parent's Sync.
	Mkdir(path string) error
}

// Dir is an open directory. Its methods take bare names.
type Dir interface {
	// Create creates a regular file, mode 0600, and opens it for reading and writing;
	// fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Open opens an existing regular file for reading and writing.
	Open(name string) (File, error)
	// OpenReadOnly opens an existing regular file for reading.
	OpenReadOnly(name string) (File, error)
	// Rename gives a file another name. It replaces a file of that name.
	Rename(oldName, newName string) error
	// Remove unlinks a file; fs.ErrNotExist if it is absent.
	Remove(name string) error
	// Names lists the directory, sorted.
	Names() ([]string, error)
	// Sync makes all changes to the directory's entries durable.
	Sync() error
	// Lock takes a lock on a file of this directory without waiting; ErrLocked if another
	// holder's lock excludes it. An exclusive lock creates a missing file; a shared lock
	// returns fs.ErrNotExist instead. Nothing ever removes the file, and its content means
	// nothing.
	Lock(name string, mode LockMode) (Lock, error)
	// Close releases the descriptor. Files opened through the Dir stay open.
	Close() error
}

// LockMode says who else may hold the lock.
type LockMode int

const (
	Exclusive LockMode = iota // no other holder
	Shared                    // other shared holders
)

// Lock is a held lock.
type Lock interface {
	// Unlock releases the lock, even if a forked child still holds a copy of the descriptor.
	Unlock() error
}

// File is an open regular file.
type File interface {
	io.ReaderAt
	// WriteAt is one pwrite: n may be less than len(p) with a nil error.
	WriteAt(p []byte, offset int64) (n int, err error)
	// Size returns the length of the file in bytes.
	Size() (int64, error)
	// Truncate shortens or extends the file to the given length.
	Truncate(size int64) error
	// Allocate reserves blocks for the bytes [0, size) and extends the file with zeros up to
	// size, so that writing these bytes cannot fail on a full disk. It never shortens the file.
	// After an error no byte below the old length has changed, but the length may have.
	Allocate(size int64) error
	// SlowFirstWrite reports whether a Datasync takes longer after the first write to bytes
	// that Allocate reserved than after later writes there, and whether those later writes need
	// no more space.
	SlowFirstWrite() bool
	// Datasync makes the bytes and the length durable. After an error the state of every byte
	// written since the last success is unknown, and a second call that succeeds proves
	// nothing.
	Datasync() error
	// Map maps the bytes [0, size) read-only. size must be positive and may exceed the length
	// of the file.
	Map(size int64) (Mapping, error)
	// Close releases the descriptor. Mappings stay valid.
	Close() error
}

// Mapping is a range of memory that shows a file.
type Mapping interface {
	// Bytes is the memory: readable until Unmap, never writable.
	Bytes() []byte
	// Unmap ends the mapping. For a while afterwards the address range faults rather than
	// showing another file. Call it once, after the last access to Bytes.
	Unmap() error
}

// These optional interfaces of a File or a Mapping take advice. Advice changes how fast a call
// is and never what it does, so callers need not know whether it was followed. A test disk may
// leave it out.
type (
	populator interface{ populate(from, to int64) }
	locker    interface{ lock() error }
	flusher   interface{ flush(offset, size int64) }
	residence interface{ resident(to int64) float64 }
	evicter   interface{ evict() }
)

// Populate reads the bytes [from, to) of a mapping into memory, unless they are there, and
// enters their pages in this process's page tables, so that the first reads of them take no
// fault.
func Populate(m Mapping, from, to int64) {
	if p, ok := m.(populator); ok {
		p.populate(from, to)
	}
}

// LockPages keeps each page of a mapping in memory once it is there, as far as the file reaches
// and the system's limit for the process allows.
func LockPages(m Mapping) error {
	if l, ok := m.(locker); ok {
		return l.lock()
	}
	return errors.ErrUnsupported
}

// Flush starts writing the bytes [offset, offset+size) to the disk, so that the next Datasync
// has less to do. It makes nothing durable.
func Flush(f File, offset, size int64) {
	if d, ok := f.(flusher); ok {
		d.flush(offset, size)
	}
}

// Resident returns which part of the bytes [0, to) of a file is in the page cache, from 0 to 1;
// 1 where the system cannot tell.
func Resident(f File, to int64) float64 {
	if r, ok := f.(residence); ok && to > 0 {
		return r.resident(to)
	}
	return 1
}

// Evict drops a file's clean pages from the page cache.
func Evict(f File) {
	if e, ok := f.(evicter); ok {
		e.evict()
	}
}

// WriteFull writes all of p at the offset and continues after short writes. It returns how many
// bytes it wrote before an error.
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
