package transcript

import "github.com/mmapkv/mmapkv/internal/vfs"

// file is an open file.
type file struct {
	inner vfs.File
	t     *Transcript
	path  string
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.inner.ReadAt(p, offset)
	f.t.call(err, "read %s at %d, %d bytes = %d, %s", f.path, offset, len(p), n, content(p[:n]))
	return n, err
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.inner.WriteAt(p, offset)
	f.t.call(err, "write %s at %d, %d bytes, %s = %d", f.path, offset, len(p), content(p), n)
	return n, err
}

func (f *file) Size() (int64, error) {
	size, err := f.inner.Size()
	f.t.call(err, "size of %s = %d", f.path, size)
	return size, err
}

func (f *file) Truncate(size int64) error {
	err := f.inner.Truncate(size)
	f.t.call(err, "truncate %s to %d", f.path, size)
	return err
}

func (f *file) Allocate(size int64) error {
	err := f.inner.Allocate(size)
	f.t.call(err, "allocate %s to %d", f.path, size)
	return err
}

func (f *file) SlowFirstWrite() bool {
	slow := f.inner.SlowFirstWrite()
	f.t.call(nil, "slow first write of %s = %v", f.path, slow)
	return slow
}

func (f *file) Datasync() error {
	err := f.inner.Datasync()
	f.t.call(err, "sync %s", f.path)
	return err
}

func (f *file) Map(size int64) (vfs.Mapping, error) {
	inner, err := f.inner.Map(size)
	f.t.call(err, "map %s to %d", f.path, size)
	if err != nil {
		return nil, err
	}
	return &mapping{inner, f.t, f.path}, nil
}

func (f *file) Close() error {
	err := f.inner.Close()
	f.t.call(err, "close %s", f.path)
	return err
}

// mapping is a mapped file.
type mapping struct {
	inner vfs.Mapping
	t     *Transcript
	path  string
}

func (m *mapping) Bytes() []byte { return m.inner.Bytes() }

func (m *mapping) Unmap() error {
	err := m.inner.Unmap()
	m.t.call(err, "unmap %s", m.path)
	return err
}
