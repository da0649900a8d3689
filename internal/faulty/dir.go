package faulty

import "github.com/mmapkv/mmapkv/internal/vfs"

type dir struct {
	disk  *Disk
	inner vfs.Dir
	path  string
}

// Create implements vfs.Dir.
func (d *dir) Create(name string) (vfs.File, error) {
	return d.open(DirCreate, name, d.inner.Create)
}

// Open implements vfs.Dir.
func (d *dir) Open(name string) (vfs.File, error) {
	return d.open(DirOpen, name, d.inner.Open)
}

// OpenReadOnly implements vfs.Dir.
func (d *dir) OpenReadOnly(name string) (vfs.File, error) {
	return d.open(DirOpenReadOnly, name, d.inner.OpenReadOnly)
}

func (d *dir) open(kind Kind, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if err := d.disk.call(kind, name); err != nil {
		return nil, err
	}
	inner, err := open(name)
	if err != nil {
		return nil, err
	}
	return &file{disk: d.disk, inner: inner, name: name}, nil
}

// Rename implements vfs.Dir.
func (d *dir) Rename(oldName, newName string) error {
	if err := d.disk.call(DirRename, oldName); err != nil {
		return err
	}
	return d.inner.Rename(oldName, newName)
}

// Remove implements vfs.Dir.
func (d *dir) Remove(name string) error {
	if err := d.disk.call(DirRemove, name); err != nil {
		return err
	}
	return d.inner.Remove(name)
}

// Names implements vfs.Dir.
func (d *dir) Names() ([]string, error) {
	if err := d.disk.call(DirNames, d.path); err != nil {
		return nil, err
	}
	return d.inner.Names()
}

// Sync implements vfs.Dir.
func (d *dir) Sync() error {
	if err := d.disk.call(DirSync, d.path); err != nil {
		return err
	}
	return d.inner.Sync()
}

// Lock implements vfs.Dir.
func (d *dir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	if err := d.disk.call(DirLock, name); err != nil {
		return nil, err
	}
	inner, err := d.inner.Lock(name, mode)
	if err != nil {
		return nil, err
	}
	return &lock{disk: d.disk, inner: inner, name: name}, nil
}

// Close implements vfs.Dir.
func (d *dir) Close() error {
	return afterwards(d.disk.call(DirClose, d.path), d.inner.Close)
}

type lock struct {
	disk  *Disk
	inner vfs.Lock
	name  string
}

// Unlock implements vfs.Lock.
func (l *lock) Unlock() error {
	return afterwards(l.disk.call(LockUnlock, l.name), l.inner.Unlock)
}

// afterwards releases what has to be released even when the call is to fail,
// as close(2) does.
func afterwards(failure error, release func() error) error {
	err := release()
	if failure != nil {
		return failure
	}
	return err
}
