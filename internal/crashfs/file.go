package crashfs

import (
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// file is an open file.
type file struct {
	disk     *Disk
	inode    *inode
	path     string
	writable bool
	closed   bool // guarded by the disk's mutex
}

func (f *file) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// checkLocked returns what is wrong with a call and its offset or length.
func (f *file) checkLocked(changes bool, number int64) error {
	switch {
	case f.closed || changes && !f.writable:
		return errno.EBADF
	case number < 0:
		return syscall.EINVAL
	}
	return nil
}

func (f *file) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.disk.look(func() error {
		if err := f.checkLocked(false, offset); err != nil {
			return err
		}
		n = int(min(int64(len(p)), max(f.inode.size-offset, 0)))
		f.inode.read(p[:n], offset)
		return nil
	})
	switch {
	case err != nil:
		return 0, f.fail("read", err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, offset int64) (n int, err error) {
	op := Op{Kind: Write, Name: f.path, Offset: offset, Length: int64(len(p))}
	sum := sumBytes(p)
	err = f.disk.change(op, sum, func() error {
		if err := f.checkLocked(true, offset); err != nil {
			return err
		}
		wanted := len(p)
		if f.disk.off {
			wanted = min(wanted, f.disk.partial)
		}
		if wanted == 0 {
			return nil
		}
		granted := f.disk.grantLocked(f.inode, offset+int64(wanted))
		if granted <= offset {
			return errno.ENOSPC
		}
		n = int(granted - offset)
		if n < len(p) {
			sum = sumBytes(p[:n])
		}
		f.inode.write(p[:n], offset, sum)
		return nil
	})
	if err != nil {
		return 0, f.fail("write", err)
	}
	return n, nil
}

func (f *file) Size() (size int64, err error) {
	err = f.disk.look(func() error {
		size = f.inode.size
		return f.checkLocked(false, 0)
	})
	if err != nil {
		return 0, f.fail("stat", err)
	}
	return size, nil
}

func (f *file) Truncate(size int64) error {
	err := f.disk.change(Op{Kind: Truncate, Name: f.path, Length: size}, 0, func() error {
		if err := f.checkLocked(true, size); err != nil {
			return err
		}
		f.disk.cutAllocationLocked(f.inode, size)
		f.inode.truncate(size)
		return nil
	})
	if err != nil {
		return f.fail("truncate", err)
	}
	return nil
}

func (f *file) Allocate(size int64) error {
	err := f.disk.change(Op{Kind: Allocate, Name: f.path, Length: size}, 0, func() error {
		if err := f.checkLocked(true, size); err != nil {
			return err
		}
		if f.inode.linked && size-f.inode.allocated > f.disk.freeLocked() {
			return errno.ENOSPC
		}
		f.disk.grantLocked(f.inode, size)
		if size > f.inode.size {
			f.inode.extend(size)
		}
		return nil
	})
	if err != nil {
		return f.fail("allocate", err)
	}
	return nil
}

// SlowFirstWrite returns true, so that tests cover what callers write because of it.
func (f *file) SlowFirstWrite() bool { return true }

func (f *file) Datasync() error {
	err := f.disk.change(Op{Kind: Datasync, Name: f.path}, 0, func() error {
		if err := f.checkLocked(false, 0); err != nil {
			return err
		}
		f.inode.sync()
		return nil
	})
	if err != nil {
		return f.fail("sync", err)
	}
	return nil
}

// LoseDirty does what Linux does when it cannot write a file's pages: what was written since
// the last sync stays visible, later syncs succeed, and a power cut loses it. Changes of the
// file's length may survive.
func (f *file) LoseDirty() {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.inode.loseDirty()
}

func (f *file) Map(size int64) (vfs.Mapping, error) {
	m := &mapping{disk: f.disk, inode: f.inode}
	err := f.disk.look(func() error {
		if err := f.checkLocked(false, size-1); err != nil {
			return err
		}
		f.inode.reserve(size)
		m.memory = f.inode.live
		m.memory.maps++
		m.bytes = m.memory.bytes[:size:size]
		f.disk.held++
		return nil
	})
	if err != nil {
		return nil, f.fail("map", err)
	}
	return m, nil
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return f.fail("close", errno.EBADF)
	}
	f.closed = true
	f.disk.held--
	return nil
}

// mapping shows a file's memory. Past the file's end it reads as zeros, where a real mapping
// would fault.
type mapping struct {
	disk   *Disk
	inode  *inode
	memory *memory // nil: unmapped
	bytes  []byte
}

func (m *mapping) Bytes() []byte { return m.bytes }

func (m *mapping) Unmap() error {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	if m.memory == nil {
		return syscall.EINVAL
	}
	m.disk.held--
	m.memory.maps--
	if m.memory.maps == 0 {
		m.inode.outgrown = slices.DeleteFunc(m.inode.outgrown, func(o *memory) bool { return o == m.memory })
	}
	m.memory = nil
	return nil
}
