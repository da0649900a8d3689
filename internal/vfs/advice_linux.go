package vfs

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// populate makes the kernel read exactly the pages of a step, all at once, and the next step
// while it waits for this one. Left to itself the kernel reads page by page as they are
// populated, and around each page as much as the disk's read-ahead says. That may be megabytes,
// more than a small memory holds.
func (m *osMapping) populate(from, to int64) {
	page := int64(unix.Getpagesize())
	from, to = from&^(page-1), min(to, int64(len(m.memory)))
	if from >= to {
		return
	}
	step := m.memory[from:min(from+populateStep, to)]
	_ = unix.Madvise(step, unix.MADV_WILLNEED)
	for ; from < to; from += populateStep {
		next := m.memory[min(from+populateStep, to):min(from+2*populateStep, to)]
		if len(next) > 0 {
			_ = unix.Madvise(next, unix.MADV_WILLNEED)
		}
		if unix.Madvise(step, unix.MADV_POPULATE_READ) != nil {
			return
		}
		step = next
	}
}

// populateStep is the number of bytes populated in one call. A call makes other changes of the
// address space wait.
const populateStep = 1 << 20

// lock reads nothing. With MLOCK_ONFAULT, pages past the file's end are not an error.
func (m *osMapping) lock() error {
	const onFault = 1
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(m.memory))), uintptr(len(m.memory)), onFault)
	if errno != 0 {
		return os.NewSyscallError("mlock2", errno)
	}
	return nil
}

func (f *osFile) flush(offset, size int64) {
	_ = unix.SyncFileRange(f.fd, offset, size, unix.SYNC_FILE_RANGE_WRITE)
}

func (f *osFile) resident(to int64) float64 {
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(f.fd), &unix.CachestatRange{Len: uint64(to)}, &stat, 0); err != nil {
		return 1
	}
	return min(float64(stat.Cache)*float64(unix.Getpagesize())/float64(to), 1)
}

func (f *osFile) evict() { _ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED) }
