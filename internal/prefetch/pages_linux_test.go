package prefetch

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// After the call all pages of the memory are there, with their content unchanged.
func TestPages(t *testing.T) {
	const size = 3<<20 + 12345
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	missing := func() (n int) {
		page := unix.Getpagesize()
		there := make([]byte, (size+page-1)/page)
		if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&memory[0])), size, uintptr(unsafe.Pointer(&there[0]))); errno != 0 {
			t.Fatal(errno)
		}
		for _, page := range there {
			n += int(1 - page&1)
		}
		return n
	}
	memory[1<<20] = 7
	words := unsafe.Slice((*uint32)(unsafe.Pointer(&memory[4])), (size-4)/4)
	Pages(words[:0])
	if n := missing(); n > 0 {
		t.Errorf("%d pages are missing", n)
	}
	for i, b := range memory {
		if b != 0 && (i != 1<<20 || b != 7) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	Pages([]string(nil))
	Pages(make([]string, 3))
}
