package vfs

import "golang.org/x/sys/unix"

// identify reads the birth time too, since ext4 gives the inode of a removed file to the next
// one.
func identify(dir int, name string) (Identity, error) {
	var stat unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_INO|unix.STATX_BTIME, &stat)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Device: unix.Mkdev(stat.Dev_major, stat.Dev_minor), Inode: stat.Ino}
	if stat.Mask&unix.STATX_BTIME != 0 {
		id.Born = stat.Btime.Sec*1e9 + int64(stat.Btime.Nsec)
	}
	return id, nil
}
