package forgetful

import (
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Dir is an open directory of a Disk.
type Dir struct {
	disk      *Disk
	directory *directory
	path      string
	closed    bool
}

var _ vfs.Dir = (*Dir)(nil)

// Create implements vfs.Dir.
func (d *Dir) Create(name string) (vfs.File, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.checkLocked("create", name); err != nil {
		return nil, err
	}
	file, err := d.createLocked(name)
	if err != nil {
		return nil, err
	}
	return &File{disk: d.disk, inode: file, path: d.join(name), writable: true}, nil
}

func (d *Dir) createLocked(name string) (*inode, error) {
	if err := d.disk.changeLocked("create", d.join(name)); err != nil {
		return nil, err
	}
	if d.directory.current.has(name) {
		return nil, pathError("create", d.join(name), syscall.EEXIST)
	}
	file := newInode()
	d.directory.change(entryOp{kind: entrySet, name: name, node: node{file: file}})
	d.disk.recordLocked(Op{Kind: Create, Name: d.join(name)})
	return file, nil
}

// Open implements vfs.Dir.
func (d *Dir) Open(name string) (vfs.File, error) { return d.open(name, true) }

// OpenReadOnly implements vfs.Dir.
func (d *Dir) OpenReadOnly(name string) (vfs.File, error) { return d.open(name, false) }

func (d *Dir) open(name string, writable bool) (vfs.File, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.checkLocked("open", name); err != nil {
		return nil, err
	}
	file, err := d.fileLocked("open", name)
	if err != nil {
		return nil, err
	}
	return &File{disk: d.disk, inode: file, path: d.join(name), writable: writable}, nil
}

// Rename implements vfs.Dir.
func (d *Dir) Rename(oldName, newName string) error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.checkLocked("rename", oldName); err != nil {
		return err
	}
	if err := d.checkLocked("rename", newName); err != nil {
		return err
	}
	if err := d.disk.changeLocked("rename", d.join(oldName)); err != nil {
		return err
	}
	file, err := d.fileLocked("rename", oldName)
	if err != nil {
		return err
	}
	if replaced, ok := d.directory.current.get(newName); ok && replaced.file != file {
		if replaced.dir != nil {
			return pathError("rename", d.join(newName), syscall.EISDIR)
		}
		d.disk.unlinkLocked(replaced.file)
	}
	if oldName != newName {
		d.directory.change(entryOp{kind: entryRename, name: oldName, newName: newName, node: node{file: file}})
	}
	d.disk.recordLocked(Op{Kind: Rename, Name: d.join(oldName), Data: []byte(d.join(newName))})
	return nil
}

// Remove implements vfs.Dir.
func (d *Dir) Remove(name string) error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.checkLocked("remove", name); err != nil {
		return err
	}
	if err := d.disk.changeLocked("remove", d.join(name)); err != nil {
		return err
	}
	file, err := d.fileLocked("remove", name)
	if err != nil {
		return err
	}
	d.disk.unlinkLocked(file)
	d.directory.change(entryOp{kind: entryRemove, name: name, node: node{file: file}})
	d.disk.recordLocked(Op{Kind: Remove, Name: d.join(name)})
	return nil
}

// Names implements vfs.Dir.
func (d *Dir) Names() ([]string, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.closed {
		return nil, pathError("readdir", d.path, fs.ErrClosed)
	}
	return d.directory.names(), nil
}

// Sync implements vfs.Dir.
func (d *Dir) Sync() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.closed {
		return pathError("sync", d.path, fs.ErrClosed)
	}
	if err := d.disk.changeLocked("sync", d.path); err != nil {
		return err
	}
	d.directory.sync()
	d.disk.recordLocked(Op{Kind: DirSync, Name: d.path})
	return nil
}

// Lock implements vfs.Dir.
func (d *Dir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.checkLocked("lock", name); err != nil {
		return nil, err
	}
	var file *inode
	var err error
	if mode == vfs.Exclusive && !d.directory.current.has(name) {
		file, err = d.createLocked(name)
	} else {
		file, err = d.fileLocked("lock", name)
	}
	if err != nil {
		return nil, err
	}
	if file.exclusive || mode == vfs.Exclusive && file.sharedLocks > 0 {
		return nil, pathError("lock", d.join(name), vfs.ErrLocked)
	}
	if mode == vfs.Exclusive {
		file.exclusive = true
	} else {
		file.sharedLocks++
	}
	return &lock{disk: d.disk, inode: file, mode: mode}, nil
}

// Close implements vfs.Dir.
func (d *Dir) Close() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.closed {
		return pathError("close", d.path, fs.ErrClosed)
	}
	d.closed = true
	return nil
}

func (d *Dir) checkLocked(operation, name string) error {
	if d.closed {
		return pathError(operation, d.path, fs.ErrClosed)
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return pathError(operation, d.join(name), syscall.EINVAL)
	}
	return nil
}

func (d *Dir) fileLocked(operation, name string) (*inode, error) {
	found, ok := d.directory.current.get(name)
	if !ok {
		return nil, pathError(operation, d.join(name), syscall.ENOENT)
	}
	if found.file == nil {
		return nil, pathError(operation, d.join(name), syscall.EISDIR)
	}
	return found.file, nil
}

func (d *Dir) join(name string) string {
	if d.path == rootPath {
		return rootPath + name
	}
	return d.path + "/" + name
}

func (d *directory) names() []string {
	names := make([]string, len(d.current))
	for i, have := range d.current {
		names[i] = have.name
	}
	return names
}

func (d *Disk) unlinkLocked(file *inode) {
	file.linked = false
	d.used -= file.length
}

type lock struct {
	disk    *Disk
	inode   *inode
	mode    vfs.LockMode
	release sync.Once
}

// Unlock implements vfs.Lock.
func (l *lock) Unlock() error {
	l.release.Do(func() {
		l.disk.mu.Lock()
		defer l.disk.mu.Unlock()
		if l.mode == vfs.Exclusive {
			l.inode.exclusive = false
		} else {
			l.inode.sharedLocks--
		}
	})
	return nil
}
