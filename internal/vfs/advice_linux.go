package vfs

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// populate has the kernel read all pages of a step at once and no others, and the next
// step while it waits for them: where it reads by itself, page by page as they are
// populated, it reads as much around each as the disk's read-ahead says, up to
// megabytes, which little memory does not hold.
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

// populateStep is how many bytes are populated in one call, which keeps other
// changes of the address space waiting.
const populateStep = 1 << 20

// lock does not read anything: MLOCK_ONFAULT takes the file's end for no error.
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
