package vfs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func allocate(fd int, size int64) error { return unix.Fallocate(fd, 0, 0, size) }

// slowFirstWrite returns true for file systems that journal the first write to each reserved
// block, because the block no longer reads as zeros, and that overwrite a block in place.
func slowFirstWrite(fd int) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(fd, &stat) == nil && (stat.Type == unix.EXT4_SUPER_MAGIC || stat.Type == unix.XFS_SUPER_MAGIC)
}

func datasync(fd int) error { return unix.Fdatasync(fd) }

func syncDir(fd int) error {
	_, err := retry(func() (int, error) { return 0, unix.Fsync(fd) })
	return err
}

// advise keeps users' data out of core files and mappings out of children, and makes a page
// fault read only its own page. (From 6.3 on, Linux then treats pages that are read only
// through the mapping as unused when it reclaims memory. The store reads evicted pages by
// pread, which counts as use.) A kernel that does not know the advice does no harm.
func advise(memory []byte) {
	_ = unix.Madvise(memory, unix.MADV_RANDOM)
	_ = unix.Madvise(memory, unix.MADV_DONTDUMP)
	_ = unix.Madvise(memory, unix.MADV_DONTFORK)
}

// systemMappings returns how many mappings the system allows a process.
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
