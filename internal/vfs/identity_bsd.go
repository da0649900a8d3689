//go:build darwin || freebsd

package vfs

import "golang.org/x/sys/unix"

func identify(dir int, name string) (Identity, error) {
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Identity{}, err
	}
	return Identity{Device: uint64(stat.Dev), Inode: stat.Ino, Born: stat.Btim.Nano()}, nil
}
