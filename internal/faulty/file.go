package faulty

import (
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

type file struct {
	disk  *Disk
	inner vfs.File
	name  string
}

// dirtyLoser is a file that can behave as Linux does after a failed sync.
type dirtyLoser interface{ LoseDirty() }

// LoseDirty passes on, so that one faulty disk can wrap another.
func (f *file) LoseDirty() {
	if loser, ok := f.inner.(dirtyLoser); ok {
		loser.LoseDirty()
	}
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.disk.call(FileReadAt, f.name); err != nil {
		return 0, err
	}
	return f.inner.ReadAt(p, offset)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	op := Op{FileWriteAt, f.name}
	half := p[:len(p)/2]
	switch v, errno := f.disk.judge(op, len(half) > 0); {
	case v == short:
		return f.inner.WriteAt(half, offset)
	case v == fail && errno == syscall.EIO:
		// pwrite(2) does not say how much it wrote before the error, and
		// whether this half-write fails too makes no difference.
		_, _ = vfs.WriteFull(f.inner, half, offset)
		return 0, pathError(op, errno)
	case v == fail:
		return 0, pathError(op, errno)
	}
	return f.inner.WriteAt(p, offset)
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	if err := f.disk.call(FileSize, f.name); err != nil {
		return 0, err
	}
	return f.inner.Size()
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	if err := f.disk.call(FileTruncate, f.name); err != nil {
		return err
	}
	return f.inner.Truncate(size)
}

// Allocate implements vfs.File.
func (f *file) Allocate(size int64) error {
	if err := f.disk.call(FileAllocate, f.name); err != nil {
		return err
	}
	return f.inner.Allocate(size)
}

// Datasync implements vfs.File.
func (f *file) Datasync() error {
	if err := f.disk.call(FileDatasync, f.name); err != nil {
		f.LoseDirty()
		return err
	}
	return f.inner.Datasync()
}

// Map implements vfs.File.
func (f *file) Map(size int64) (vfs.Mapping, error) {
	if err := f.disk.call(FileMap, f.name); err != nil {
		return nil, err
	}
	inner, err := f.inner.Map(size)
	if err != nil {
		return nil, err
	}
	return &mapping{disk: f.disk, inner: inner, name: f.name}, nil
}

// Close implements vfs.File.
func (f *file) Close() error {
	return afterwards(f.disk.call(FileClose, f.name), f.inner.Close)
}

type mapping struct {
	disk  *Disk
	inner vfs.Mapping
	name  string
}

// Bytes implements vfs.Mapping.
func (m *mapping) Bytes() []byte { return m.inner.Bytes() }

// Unmap implements vfs.Mapping.
func (m *mapping) Unmap() error {
	return afterwards(m.disk.call(MappingUnmap, m.name), m.inner.Unmap)
}
