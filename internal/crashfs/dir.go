package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// dirHandle is an open directory.
type dirHandle struct {
	disk   *Disk
	dir    *directory
	path   string
	closed bool // guarded by the disk's mutex
}

func (h *dirHandle) join(name string) string {
	if h.path == "/" {
		return "/" + name
	}
	return h.path + "/" + name
}

var errBadName = errors.New("not a bare file name")

// check returns what is wrong with a call. Its caller holds the disk's mutex.
func (h *dirHandle) check(name string) error {
	switch {
	case h.closed:
		return errno.EBADF
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return errBadName
	}
	return nil
}

func (h *dirHandle) findFileLocked(name string) (*inode, error) {
	if err := h.check(name); err != nil {
		return nil, err
	}
	number, ok := h.dir.find(name)
	if !ok {
		return nil, syscall.ENOENT
	}
	file := h.disk.nodes[number].file
	if file == nil {
		return nil, syscall.EISDIR
	}
	return file, nil
}

func (h *dirHandle) addFileLocked(name string) (*inode, error) {
	if err := h.check(name); err != nil {
		return nil, err
	}
	if _, taken := h.dir.find(name); taken {
		return nil, syscall.EEXIST
	}
	f := &inode{linked: true}
	number := h.disk.addLocked(node{file: f})
	h.dir.change(entryChange{kind: addEntry, name: name, node: number})
	return f, nil
}

func (h *dirHandle) Create(name string) (vfs.File, error) {
	f := &file{disk: h.disk, path: h.join(name), writable: true}
	err := h.disk.change(Op{Kind: Create, Name: f.path}, 0, func() (err error) {
		f.inode, err = h.addFileLocked(name)
		if err == nil && !h.disk.off {
			h.disk.held++
		}
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: f.path, Err: err}
	}
	return f, nil
}

func (h *dirHandle) Open(name string) (vfs.File, error) { return h.open(name, true) }

func (h *dirHandle) OpenReadOnly(name string) (vfs.File, error) { return h.open(name, false) }

func (h *dirHandle) open(name string, writable bool) (vfs.File, error) {
	f := &file{disk: h.disk, path: h.join(name), writable: writable}
	err := h.disk.look(func() (err error) {
		f.inode, err = h.findFileLocked(name)
		if err == nil {
			h.disk.held++
		}
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.path, Err: err}
	}
	return f, nil
}

func (h *dirHandle) Rename(oldName, newName string) error {
	op := Op{Kind: Rename, Name: h.join(oldName), To: h.join(newName)}
	err := h.disk.change(op, 0, func() error {
		if _, err := h.findFileLocked(oldName); err != nil {
			return err
		}
		replaced, err := h.findFileLocked(newName)
		switch {
		case oldName == newName:
			return nil
		case err == nil:
			h.disk.unlinkLocked(replaced)
		case err != syscall.ENOENT:
			return err
		}
		h.dir.change(entryChange{kind: renameEntry, name: oldName, to: newName})
		return nil
	})
	if err != nil {
		return &os.LinkError{Op: "rename", Old: op.Name, New: op.To, Err: err}
	}
	return nil
}

func (h *dirHandle) Remove(name string) error {
	op := Op{Kind: Remove, Name: h.join(name)}
	err := h.disk.change(op, 0, func() error {
		removed, err := h.findFileLocked(name)
		if err != nil {
			return err
		}
		h.disk.unlinkLocked(removed)
		h.dir.change(entryChange{kind: removeEntry, name: name})
		return nil
	})
	if err != nil {
		return &fs.PathError{Op: "remove", Path: op.Name, Err: err}
	}
	return nil
}

func (h *dirHandle) Names() (names []string, err error) {
	err = h.disk.look(func() error {
		if h.closed {
			return errno.EBADF
		}
		for _, e := range h.dir.entries {
			names = append(names, e.name)
		}
		return nil
	})
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: h.path, Err: err}
	}
	return names, nil
}

// Stamp fails: the disk keeps no stamps.
func (h *dirHandle) Stamp() (vfs.Stamp, error) { return vfs.Stamp{}, errors.ErrUnsupported }

func (h *dirHandle) Identity(name string) (id vfs.Identity, err error) {
	err = h.disk.look(func() error {
		if _, err := h.findFileLocked(name); err != nil {
			return err
		}
		number, _ := h.dir.find(name)
		id.Inode = uint64(number)
		return nil
	})
	if err != nil {
		return vfs.Identity{}, &fs.PathError{Op: "stat", Path: h.join(name), Err: err}
	}
	return id, nil
}

func (h *dirHandle) Sync() error {
	err := h.disk.change(Op{Kind: SyncDir, Name: h.path}, 0, func() error {
		if h.closed {
			return errno.EBADF
		}
		h.disk.syncDirLocked(h.dir)
		return nil
	})
	if err != nil {
		return &fs.PathError{Op: "sync directory", Path: h.path, Err: err}
	}
	return nil
}

func (h *dirHandle) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	l := &lock{disk: h.disk, exclusive: mode == vfs.Exclusive}
	take := func() (err error) {
		if l.inode, err = h.findFileLocked(name); err != nil {
			return err
		}
		if !l.inode.lock(l.exclusive) {
			return vfs.ErrLocked
		}
		h.disk.held++
		return nil
	}
	path := h.join(name)
	err := h.disk.look(take)
	if l.exclusive && err == syscall.ENOENT {
		err = h.disk.change(Op{Kind: Create, Name: path}, 0, func() error {
			if _, err := h.addFileLocked(name); err != nil && err != syscall.EEXIST || h.disk.off {
				return err
			}
			return take()
		})
	}
	switch {
	case err == vfs.ErrLocked:
		return nil, fmt.Errorf("%w: %s", vfs.ErrLocked, path)
	case err != nil:
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return l, nil
}

func (h *dirHandle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: "close directory", Path: h.path, Err: errno.EBADF}
	}
	h.closed = true
	h.disk.held--
	return nil
}

// lock is a held lock.
type lock struct {
	disk      *Disk
	inode     *inode // nil: unlocked
	exclusive bool
}

func (l *lock) Unlock() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.inode == nil {
		return errno.EBADF
	}
	if l.exclusive {
		l.inode.exclusiveLock = false
	} else {
		l.inode.sharedLocks--
	}
	l.inode = nil
	l.disk.held--
	return nil
}
