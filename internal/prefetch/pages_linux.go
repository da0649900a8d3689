package prefetch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pages faults in the memory of the whole capacity of a slice that is about to be filled. It
// does not change the content.
//
// Memory that a process has never used, or has given back, is not there until the process
// touches it. Each page of 4 KiB then costs a fault: 0.3 µs where faults are cheap, 12 µs on
// nested virtual machines. Requested all at once, pages take 0.7 µs each there. Pages that are
// already there take 10 ns.
//
// It does nothing for less than 8 KiB, before Linux 5.14, and on other systems.
func Pages[T any](s []T) {
	page := uintptr(unix.Getpagesize())
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	end := begin + uintptr(cap(s))*unsafe.Sizeof(*new(T))
	if end-begin < minPagesSize {
		return
	}
	begin, end = begin&^(page-1), (end+page-1)&^(page-1)
	for ; begin < end; begin += pagesAtOnce {
		some := min(end-begin, pagesAtOnce)
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, begin, some, unix.MADV_POPULATE_WRITE); errno != 0 {
			return
		}
	}
}

const (
	minPagesSize = 8 << 10 // bytes
	pagesAtOnce  = 1 << 20 // bytes in one call, which makes other changes of the address space wait
)
