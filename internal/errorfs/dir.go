package errorfs

import (
	"path/filepath"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// dir is an open directory. It inherits Close from the wrapped one.
type dir struct {
	vfs.Dir
	disk *Disk
	path string
}

func (d *dir) join(name string) string { return filepath.Join(d.path, name) }

func (d *dir) Create(name string) (vfs.File, error) {
	var inner vfs.File
	err := d.disk.count(Op{Kind: Create, Name: d.join(name)}).run(func() (err error) {
		inner, err = d.Dir.Create(name)
		return err
	})
	if err != nil {
		if inner != nil {
			inner.Close()
		}
		return nil, err
	}
	return &file{inner, d.disk, d.join(name)}, nil
}

func (d *dir) Open(name string) (vfs.File, error) { return d.open(name, d.Dir.Open) }

func (d *dir) OpenReadOnly(name string) (vfs.File, error) { return d.open(name, d.Dir.OpenReadOnly) }

func (d *dir) open(name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if f := d.disk.count(Op{Kind: Open, Name: d.join(name)}); f.err != nil {
		return nil, f.err
	}
	inner, err := open(name)
	if err != nil {
		return nil, err
	}
	return &file{inner, d.disk, d.join(name)}, nil
}

func (d *dir) Rename(oldName, newName string) error {
	op := Op{Kind: Rename, Name: d.join(oldName), To: d.join(newName)}
	return d.disk.count(op).run(func() error { return d.Dir.Rename(oldName, newName) })
}

func (d *dir) Remove(name string) error {
	op := Op{Kind: Remove, Name: d.join(name)}
	return d.disk.count(op).run(func() error { return d.Dir.Remove(name) })
}

func (d *dir) Names() ([]string, error) {
	if f := d.disk.count(Op{Kind: Names, Name: d.path}); f.err != nil {
		return nil, f.err
	}
	return d.Dir.Names()
}

// Stamp returns the stamp of the wrapped directory. It is not counted: a store asks for it once
// a second.
func (d *dir) Stamp() (vfs.Stamp, error) { return vfs.StampOf(d.Dir) }

func (d *dir) Identity(name string) (vfs.Identity, error) {
	if f := d.disk.count(Op{Kind: Identify, Name: d.join(name)}); f.err != nil {
		return vfs.Identity{}, f.err
	}
	return vfs.IdentityOf(d.Dir, name)
}

func (d *dir) Sync() error {
	return d.disk.count(Op{Kind: SyncDir, Name: d.path}).run(d.Dir.Sync)
}

func (d *dir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	if f := d.disk.count(Op{Kind: Lock, Name: d.join(name)}); f.err != nil {
		return nil, f.err
	}
	return d.Dir.Lock(name, mode)
}
