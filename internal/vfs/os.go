//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// system returns the file system of a supported machine.
func system() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenDir(path string) (Dir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open directory", Path: path, Err: err}
	}
	return &osDir{fd: fd, path: path}, nil
}

func (osFS) Mkdir(path string) error {
	_, err := retry(func() (int, error) { return 0, unix.Mkdir(path, 0o700) })
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	// A umask may have removed the owner's permissions. Where the system cannot restore them
	// without following a symbolic link, they stay removed.
	var stat unix.Stat_t
	if unix.Fstatat(unix.AT_FDCWD, path, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil && stat.Mode&0o777 != 0o700 {
		_ = unix.Fchmodat(unix.AT_FDCWD, path, uint32(stat.Mode)&^0o777|0o700, unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// osDir reaches files only through its descriptor, so it stays with its directory whatever
// happens to the path.
type osDir struct {
	fd   int
	path string
}

func (d *osDir) Create(name string) (File, error) {
	return d.open("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (d *osDir) Open(name string) (File, error) {
	return d.open("open", name, unix.O_RDWR)
}

func (d *osDir) OpenReadOnly(name string) (File, error) {
	return d.open("open", name, unix.O_RDONLY)
}

func (d *osDir) open(op, name string, flags int) (File, error) {
	fd, err := d.openFD(op, name, flags)
	if err != nil {
		return nil, err
	}
	return newOSFile(fd, filepath.Join(d.path, name)), nil
}

// openFD opens a regular file of the directory. O_NONBLOCK keeps it from hanging on a pipe
// before it knows the kind of the file. Regular files ignore the flag.
func (d *osDir) openFD(op, name string, flags int) (fd int, err error) {
	path := filepath.Join(d.path, name)
	if err := checkName(name); err != nil {
		return -1, &fs.PathError{Op: op, Path: path, Err: err}
	}
	fd, err = retry(func() (int, error) {
		return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return -1, &fs.PathError{Op: op, Path: path, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: op, Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, &fs.PathError{Op: op, Path: path, Err: errNotRegular}
	}
	// A umask may have removed the owner's permissions. Errors are ignored, since some file
	// systems have no permissions.
	if flags&unix.O_EXCL != 0 && stat.Mode&0o777 != 0o600 {
		_ = unix.Fchmod(fd, 0o600)
	}
	return fd, nil
}

var (
	errNotRegular = errors.New("not a regular file")
	errBadName    = errors.New("not a bare file name")
)

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return errBadName
	}
	return nil
}

func (d *osDir) Rename(oldName, newName string) error {
	err := errors.Join(checkName(oldName), checkName(newName))
	if err == nil {
		_, err = retry(func() (int, error) { return 0, unix.Renameat(d.fd, oldName, d.fd, newName) })
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(d.path, oldName), New: filepath.Join(d.path, newName), Err: err}
	}
	return nil
}

func (d *osDir) Remove(name string) error {
	err := checkName(name)
	if err == nil {
		_, err = retry(func() (int, error) { return 0, unix.Unlinkat(d.fd, name, 0) })
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: filepath.Join(d.path, name), Err: err}
	}
	return nil
}

func (d *osDir) Names() ([]string, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: d.path, Err: err}
	}
	list := os.NewFile(uintptr(fd), d.path)
	defer list.Close()
	names, err := list.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (d *osDir) Sync() error {
	if err := syncDir(d.fd); err != nil {
		return &fs.PathError{Op: "sync directory", Path: d.path, Err: err}
	}
	return nil
}

func (d *osDir) Close() error {
	if err := unix.Close(d.fd); err != nil {
		return &fs.PathError{Op: "close directory", Path: d.path, Err: err}
	}
	return nil
}

// Lock uses flock(2). Its locks belong to the open file, so they exclude other opens in this
// process too, and end with the process, however that ends.
func (d *osDir) Lock(name string, mode LockMode) (Lock, error) {
	how := unix.LOCK_EX
	if mode == Shared {
		how = unix.LOCK_SH
	}
	for {
		fd, err := d.openLock(name, mode)
		if err != nil {
			return nil, err
		}
		_, err = retry(func() (int, error) { return 0, unix.Flock(fd, how|unix.LOCK_NB) })
		same := false
		if err == nil {
			same, err = d.leadsTo(name, fd)
		}
		if same {
			return osLock{fd}, nil
		}
		unix.Close(fd)
		path := filepath.Join(d.path, name)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("%w: %s", ErrLocked, path)
		case err != nil:
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		// The file was replaced between open and lock: lock the new one.
	}
}

// openLock opens a lock's file, and creates it for an exclusive lock.
func (d *osDir) openLock(name string, mode LockMode) (fd int, err error) {
	if mode == Shared {
		return d.openFD("lock", name, unix.O_RDONLY)
	}
	for {
		fd, err = d.openFD("lock", name, unix.O_RDWR)
		if !errors.Is(err, fs.ErrNotExist) {
			return fd, err
		}
		fd, err = d.openFD("lock", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return fd, err
		}
	}
}

// leadsTo reports whether the name still leads to the open file.
func (d *osDir) leadsTo(name string, fd int) (bool, error) {
	var opened, named unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return false, err
	}
	switch err := unix.Fstatat(d.fd, name, &named, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return false, nil
	case err != nil:
		return false, err
	}
	return opened.Ino == named.Ino && opened.Dev == named.Dev, nil
}

type osLock struct{ fd int }

// Unlock unlocks before it closes: otherwise a forked child with a copy of the descriptor would
// keep the lock.
func (l osLock) Unlock() error {
	return errors.Join(unix.Flock(l.fd, unix.LOCK_UN), unix.Close(l.fd))
}

// retry repeats a call while signals interrupt it.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != syscall.EINTR {
			return v, err
		}
	}
}
