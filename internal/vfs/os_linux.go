package vfs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func allocate(fd int, size int64) error { return unix.Fallocate(fd, 0, 0, size) }

// slowFirstWrite knows the file systems that tell their journal of the first write to
// each reserved block, that it is no longer to be read as zeros, and that write the same
// block again where it is.
func slowFirstWrite(fd int) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(fd, &stat) == nil && (stat.Type == unix.EXT4_SUPER_MAGIC || stat.Type == unix.XFS_SUPER_MAGIC)
}

func datasync(fd int) error { return unix.Fdatasync(fd) }

func syncDir(fd int) error {
	_, err := retry(func() (int, error) { return 0, unix.Fsync(fd) })
	return err
}

// advise keeps users' data out of core files, and mappings out of children, and has a
// page fault read one page and not what lies around it. (Linux from 6.3 on then takes
// pages for unused that are read through the mapping only, when it looks for memory.
// What is gone is read by pread from then on, which counts as use.) A kernel that takes
// no such advice does no harm.
func advise(memory []byte) {
	_ = unix.Madvise(memory, unix.MADV_RANDOM)
	_ = unix.Madvise(memory, unix.MADV_DONTDUMP)
	_ = unix.Madvise(memory, unix.MADV_DONTFORK)
}

// systemMappings is how many mappings the system grants a process.
func systemMappings() int {
	const usual = 65_530
	content, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return usual
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || n < 2 {
		return usual
	}
	return n
}
