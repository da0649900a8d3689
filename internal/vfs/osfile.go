//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// osFile is an open file. In race builds it passes its writes on to mappings; see mirror.
type osFile struct {
	file   *os.File
	fd     int
	path   string
	mirror mirror
	sparse atomic.Bool // Allocate has reserved nothing
}

func newOSFile(fd int, path string) *osFile {
	return &osFile{file: os.NewFile(uintptr(fd), path), fd: fd, path: path, mirror: newMirror(fd)}
}

func (f *osFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// maxTransfer is the most bytes that one call reads or writes: darwin and freebsd refuse 2 GiB,
// where Linux transfers a part. A test lowers it.
var maxTransfer = 1 << 30

func (f *osFile) ReadAt(p []byte, offset int64) (read int, err error) {
	for read < len(p) {
		piece := p[read:][:min(len(p)-read, maxTransfer)]
		n, err := retry(func() (int, error) { return unix.Pread(f.fd, piece, offset+int64(read)) })
		if err != nil {
			return read, f.fail("read", err)
		}
		if n == 0 {
			return read, io.EOF
		}
		read += n
	}
	return read, nil
}

func (f *osFile) WriteAt(p []byte, offset int64) (int, error) {
	p = p[:min(len(p), maxTransfer)]
	n, err := retry(func() (int, error) { return unix.Pwrite(f.fd, p, offset) })
	if err != nil {
		return max(n, 0), f.fail("write", err)
	}
	f.mirror.wrote(p[:n], offset)
	return n, nil
}

func (f *osFile) Size() (int64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(f.fd, &stat); err != nil {
		return 0, f.fail("stat", err)
	}
	return stat.Size, nil
}

func (f *osFile) Truncate(size int64) error {
	if err := f.mirror.truncate(f.fd, size); err != nil {
		return f.fail("truncate", err)
	}
	return nil
}

func truncate(fd int, size int64) error {
	_, err := retry(func() (int, error) { return 0, unix.Ftruncate(fd, size) })
	return err
}

func (f *osFile) Allocate(size int64) error {
	if size == 0 {
		return nil // Linux refuses to allocate nothing
	}
	_, err := retry(func() (int, error) { return 0, allocate(f.fd, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.extend(size)
	}
	if err != nil {
		return f.fail("allocate", err)
	}
	return nil
}

// extend is what Allocate does where the file system cannot reserve space. A full disk then
// shows as a short write.
func (f *osFile) extend(size int64) error {
	f.sparse.Store(true)
	old, err := f.Size()
	if err != nil || old >= size {
		return err
	}
	return truncate(f.fd, size)
}

func (f *osFile) SlowFirstWrite() bool { return !f.sparse.Load() && slowFirstWrite(f.fd) }

func (f *osFile) Datasync() error {
	if _, err := retry(func() (int, error) { return 0, datasync(f.fd) }); err != nil {
		return f.fail("sync", err)
	}
	return nil
}

func (f *osFile) Map(size int64) (Mapping, error) {
	switch {
	case size <= 0:
		return nil, f.fail("map", unix.EINVAL)
	case int64(int(size)) != size:
		return nil, f.fail("map", unix.ENOMEM)
	case !acquireMapping():
		return nil, f.fail("map", ErrMappingLimit)
	}
	m, err := f.mirror.mapFile(f, int(size))
	if err != nil {
		releaseMapping()
		return nil, f.fail("map", err)
	}
	return m, nil
}

func (f *osFile) Close() error { return f.file.Close() }
