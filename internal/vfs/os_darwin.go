package vfs

import "golang.org/x/sys/unix"

// allocate reserves all of the space or none, in several extents if necessary, and then extends
// the file.
func allocate(fd int, size int64) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Size >= size {
		return nil
	}
	store := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: size - stat.Size}
	if err := unix.FcntlFstore(uintptr(fd), unix.F_PREALLOCATE, &store); err != nil && err != unix.ENOTSUP {
		return err
	}
	return unix.Ftruncate(fd, size)
}

// datasync makes the drive flush its cache, which fsync(2) does not do on this system.
func datasync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}

func slowFirstWrite(int) bool { return false }

func syncDir(fd int) error { return datasync(fd) }

func advise([]byte) {}

func systemMappings() int { return 65_530 }
