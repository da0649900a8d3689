package errorfs

import (
	"errors"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// file is an open file. It inherits Close from the wrapped one.
type file struct {
	vfs.File
	disk *Disk
	path string
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	fault := f.disk.count(Op{Kind: Read, Name: f.path, Offset: offset, Length: int64(len(p))})
	if fault.err != nil {
		return 0, fault.err
	}
	return f.File.ReadAt(p, offset)
}

// WriteAt writes half of p when it is cut short or fails with EIO. With any other error, such
// as that of a full disk, it writes nothing.
func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	fault := f.disk.count(Op{Kind: Write, Name: f.path, Offset: offset, Length: int64(len(p))})
	switch half := p[:len(p)/2]; {
	case fault.short:
		return f.File.WriteAt(half, offset)
	case errors.Is(fault.err, syscall.EIO):
		_, err := f.File.WriteAt(half, offset)
		return 0, errors.Join(fault.err, err)
	case fault.err != nil:
		return 0, fault.err
	}
	return f.File.WriteAt(p, offset)
}

func (f *file) Size() (int64, error) {
	if fault := f.disk.count(Op{Kind: Size, Name: f.path}); fault.err != nil {
		return 0, fault.err
	}
	return f.File.Size()
}

func (f *file) Truncate(size int64) error {
	op := Op{Kind: Truncate, Name: f.path, Length: size}
	return f.disk.count(op).run(func() error { return f.File.Truncate(size) })
}

// Allocate allocates half of the missing space before it fails.
func (f *file) Allocate(size int64) error {
	fault := f.disk.count(Op{Kind: Allocate, Name: f.path, Length: size})
	if fault.err != nil && !fault.through {
		old, err := f.File.Size()
		if err == nil && size > old {
			err = f.File.Allocate(old + (size-old)/2)
		}
		return errors.Join(fault.err, err)
	}
	return fault.run(func() error { return f.File.Allocate(size) })
}

func (f *file) Datasync() error {
	fault := f.disk.count(Op{Kind: Datasync, Name: f.path})
	if fault.err != nil && !fault.through {
		if l, ok := f.File.(interface{ LoseDirty() }); ok {
			l.LoseDirty()
		}
	}
	return fault.run(f.File.Datasync)
}

func (f *file) Map(size int64) (vfs.Mapping, error) {
	if fault := f.disk.count(Op{Kind: Map, Name: f.path, Length: size}); fault.err != nil {
		return nil, fault.err
	}
	return f.File.Map(size)
}
