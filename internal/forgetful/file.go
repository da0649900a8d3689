package forgetful

import (
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// File is an open file of a Disk.
type File struct {
	disk     *Disk
	inode    *inode
	path     string // at the time it was opened
	writable bool
	closed   bool
}

var _ vfs.File = (*File)(nil)

// ReadAt implements vfs.File.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.readableLocked("read", offset); err != nil {
		return 0, err
	}
	if offset >= f.inode.length {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.inode.bytes()[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements vfs.File.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.writableLocked("write", offset); err != nil {
		return 0, err
	}
	wasOff := f.disk.off
	if err := f.disk.changeLocked("write", f.path); err != nil {
		if wasOff || !f.disk.stopInside {
			return 0, err
		}
		p = p[:partWritten(offset, int64(len(p)), f.disk.calls)]
		return f.writeLocked(p, offset), err
	}
	if offset+int64(len(p)) > maxFileSize {
		return 0, pathError("write", f.path, syscall.EFBIG)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := f.writeLocked(p, offset)
	if n == 0 {
		return 0, pathError("write", f.path, syscall.ENOSPC)
	}
	return n, nil
}

// writeLocked writes what there is room for.
func (f *File) writeLocked(p []byte, offset int64) int {
	if f.inode.linked {
		end := f.inode.length + f.disk.roomLocked()
		p = p[:max(0, min(int64(len(p)), end-offset))]
	}
	if len(p) == 0 {
		return 0
	}
	data := slices.Clone(p)
	f.changeLocked(fileOp{kind: pendingWrite, offset: offset, data: data})
	f.disk.recordLocked(Op{Kind: Write, Name: f.path, Offset: offset, Data: data})
	return len(data)
}

// partWritten is how much of a write gets through when the power goes inside
// it: up to one of the sector boundaries in it, which one depends on the call.
func partWritten(offset, size int64, call int) int64 {
	first := offset/sectorSize + 1
	inside := (offset+size-1)/sectorSize - first + 1
	if size == 0 || inside <= 0 {
		return 0
	}
	return (first+int64(call)%inside)*sectorSize - offset
}

// Size implements vfs.File.
func (f *File) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.readableLocked("stat", 0); err != nil {
		return 0, err
	}
	return f.inode.length, nil
}

// Truncate implements vfs.File.
func (f *File) Truncate(size int64) error {
	return f.setLength("truncate", fileOp{kind: pendingTruncate, offset: size}, Truncate)
}

// Allocate implements vfs.File.
func (f *File) Allocate(size int64) error {
	return f.setLength("allocate", fileOp{kind: pendingAllocate, offset: size}, Allocate)
}

func (f *File) setLength(operation string, op fileOp, kind Kind) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.writableLocked(operation, op.offset); err != nil {
		return err
	}
	if err := f.disk.changeLocked(operation, f.path); err != nil {
		return err
	}
	if op.offset > maxFileSize {
		return pathError(operation, f.path, syscall.EFBIG)
	}
	growth := op.lengthAfter(f.inode.length) - f.inode.length
	if f.inode.linked && growth > 0 && growth > f.disk.roomLocked() {
		return pathError(operation, f.path, syscall.ENOSPC)
	}
	f.changeLocked(op)
	f.disk.recordLocked(Op{Kind: kind, Name: f.path, Offset: op.offset})
	return nil
}

func (f *File) changeLocked(op fileOp) {
	before := f.inode.length
	f.inode.change(op)
	if f.inode.linked {
		f.disk.used += f.inode.length - before
	}
}

// Datasync implements vfs.File.
func (f *File) Datasync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.readableLocked("datasync", 0); err != nil {
		return err
	}
	if err := f.disk.changeLocked("datasync", f.path); err != nil {
		return err
	}
	f.inode.sync()
	f.disk.recordLocked(Op{Kind: Datasync, Name: f.path})
	return nil
}

// LoseDirty is what Linux does when a sync fails: the pages count as clean from
// now on. Reads show the lost writes, the next Datasync returns nil, and no
// power cut leaves them. Whoever makes a Datasync fail calls it.
func (f *File) LoseDirty() {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.inode.loseDirty()
}

// Map implements vfs.File.
func (f *File) Map(size int64) (vfs.Mapping, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.readableLocked("map", size); err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, pathError("map", f.path, syscall.EINVAL)
	}
	if size > maxFileSize {
		return nil, pathError("map", f.path, syscall.ENOMEM)
	}
	r := f.inode.mapRegion(size)
	return &mapping{file: f, region: r, bytes: r.bytes[:size:size]}, nil
}

// Close implements vfs.File.
func (f *File) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return pathError("close", f.path, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *File) readableLocked(operation string, offset int64) error {
	if f.closed {
		return pathError(operation, f.path, fs.ErrClosed)
	}
	if offset < 0 {
		return pathError(operation, f.path, syscall.EINVAL)
	}
	return nil
}

func (f *File) writableLocked(operation string, offset int64) error {
	if err := f.readableLocked(operation, offset); err != nil {
		return err
	}
	if !f.writable {
		return pathError(operation, f.path, syscall.EBADF)
	}
	return nil
}

type mapping struct {
	file   *File
	region *region
	bytes  []byte
}

// Bytes implements vfs.Mapping.
func (m *mapping) Bytes() []byte { return m.bytes }

// Unmap implements vfs.Mapping.
func (m *mapping) Unmap() error {
	m.file.disk.mu.Lock()
	defer m.file.disk.mu.Unlock()
	if m.region == nil {
		return pathError("unmap", m.file.path, syscall.EINVAL)
	}
	m.file.inode.unmapRegion(m.region)
	m.region = nil
	return nil
}
