//go:build linux || darwin || freebsd

package vfs

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func (d *osDir) Stamp() (Stamp, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(d.fd, &stat); err != nil {
		return Stamp{}, &fs.PathError{Op: "stat directory", Path: d.path, Err: err}
	}
	return Stamp{Changed: stat.Mtim.Nano(), Removed: stat.Nlink == 0}, nil
}

func (d *osDir) Identity(name string) (Identity, error) {
	err := checkName(name)
	var id Identity
	if err == nil {
		id, err = retry(func() (Identity, error) { return identify(d.fd, name) })
	}
	if err != nil {
		return Identity{}, &fs.PathError{Op: "stat", Path: filepath.Join(d.path, name), Err: err}
	}
	return id, nil
}
