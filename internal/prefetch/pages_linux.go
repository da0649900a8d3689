package prefetch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pages provides the memory of the whole capacity of a slice that is about to be
// filled, and changes nothing in it.
//
// Memory that a process has never used, or has given back, is not there until it is
// touched, and then comes with a fault for each page of 4 KiB: 0.3 µs each where that
// is cheap, and 12 µs on virtual machines in virtual machines. All at once they take
// 0.7 µs each there. Pages that are there already take 10 ns.
//
// Of less than 8 KiB, and on systems other than Linux from 5.14 on, it does nothing.
func Pages[T any](s []T) {
	page := uintptr(unix.Getpagesize())
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	end := begin + uintptr(cap(s))*unsafe.Sizeof(*new(T))
	if end-begin < leastPages {
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
	leastPages  = 8 << 10
	pagesAtOnce = 1 << 20 // bytes in one call, which keeps other changes of the address space waiting
)
