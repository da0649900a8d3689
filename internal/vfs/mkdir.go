package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// MkdirAll makes a directory and whatever parents it lacks, and makes each of
// them durable. It says which it made.
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
	if err := fsys.Mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return made, err
	}
	dir, err := fsys.OpenDir(parent)
	if err != nil {
		return made, err
	}
	return append(made, path), errors.Join(dir.Sync(), dir.Close())
}

// SyncParents makes the names durable that lead to a path. MkdirAll has done so
// for what it made; one that was killed in the middle has not.
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
			return err
		}
		path = parent
	}
}
