package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// MkdirAll makes a directory and whatever parents it lacks, and makes each of
// them durable: a directory is synced before anything is made in what it got. It
// says which it made, the outermost first, also when it failed on the way.
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
	case !errors.Is(err, fs.ErrExist): // somebody else's is as good, once synced
		return made, err
	}
	dir, err := fsys.OpenDir(parent)
	if err != nil {
		return made, err
	}
	return made, errors.Join(dir.Sync(), dir.Close())
}

// SyncParents makes the names durable that lead to a path. MkdirAll has done so
// for what it made; one that was killed in the middle has not.
//
// Some file systems, read-only ones such as squashfs among them, know no sync of
// a directory and say EINVAL. That is no error here: a store directly in one of
// them fails when it syncs its own directory.
func SyncParents(fsys FS, path string) error {
	for {
		parent := filepath.Dir(path)
		if parent == path {
			return nil
		}
		dir, err := fsys.OpenDir(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil // nobody could have made anything there
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
