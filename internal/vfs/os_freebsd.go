package vfs

import "golang.org/x/sys/unix"

// allocate cannot reserve space on this system. Allocate then only extends the file.
func allocate(int, int64) error { return unix.EOPNOTSUPP }

func datasync(fd int) error { return unix.Fsync(fd) }

func slowFirstWrite(int) bool { return false }

func syncDir(fd int) error {
	_, err := retry(func() (int, error) { return 0, unix.Fsync(fd) })
	return err
}

// advise keeps users' data out of core files; a failure does no harm.
func advise(memory []byte) { _ = unix.Madvise(memory, unix.MADV_NOCORE) }

func systemMappings() int { return 65_530 }
