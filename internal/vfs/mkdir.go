package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// MkdirAll creates a directory and its missing parents, and makes each of them durable: it
// syncs a directory's parent before it creates anything in the directory. It returns the
// directories it created, the outermost first, even when it fails.
func MkdirAll(fsys FS, path string) (made []string, err error) {
	switch dir, err := fsys.OpenDir(path); {
	case err == nil:
		return nil, dir.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if made, err = MkdirAll(fsys, parent); err != nil {
			return made, err
		}
	}
	switch err := fsys.Mkdir(path); {
	case err == nil:
		made = append(made, path)
	case !errors.Is(err, fs.ErrExist): // a directory made by someone else will do, once synced
		return made, err
	}
	dir, err := fsys.OpenDir(parent)
	if err != nil {
		return made, err
	}
	return made, errors.Join(dir.Sync(), dir.Close())
}

// SyncParents makes the names durable that lead to a path. MkdirAll does so for what it
// creates, unless the process was killed in the middle.
//
// Some file systems, read-only ones such as squashfs among them, cannot sync a directory and
// return EINVAL. SyncParents ignores that error: a store directly in such a file system fails
// when it syncs its own directory.
func SyncParents(fsys FS, path string) error {
	for {
		parent := filepath.Dir(path)
		if parent == path {
			return nil
		}
		dir, err := fsys.OpenDir(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil // nothing could have been created there
		}
		if err != nil {
			return err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			if !errors.Is(err, syscall.EINVAL) {
				return err
			}
		}
		path = parent
	}
}
