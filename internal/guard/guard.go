// Package guard turns faults in mapped memory into errors.
//
// Memory that shows a file faults when the file has been cut or its disk cannot
// be read, and by default a fault ends the process. Under Enter it is a panic,
// of this goroutine only, that Catch can tell from any other.
//
// What must hold: a panic is taken for a fault of a read only if its address
// lies in that read's memory, and, where the memory was in the hands of a caller,
// who may have tried to write it, if the byte there still cannot be read.
// Everything else, a caller's own panic or a write into read-only memory, goes on
// unchanged.
//
//	old := guard.Enter()
//	defer func() {
//		guard.Leave(old)
//		if r := recover(); r != nil {
//			offset, ok := guard.Catch(r, memory)
//			if !ok {
//				panic(r)
//			}
//			err = ...
//		}
//	}()
package guard

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

// Enter makes faults of this goroutine panics, and returns what was before.
func Enter() (old bool) { return debug.SetPanicOnFault(true) }

// Leave sets back what Enter returned.
func Leave(old bool) { debug.SetPanicOnFault(old) }

// Inside says whether a recovered value is a fault in the memory, of a read or of
// a write, and at which offset.
func Inside(recovered any, memory []byte) (offset int64, inside bool) {
	// The text of such a panic is that of a nil dereference; only the address
	// tells them apart.
	at, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return 0, false
	}
	// In front of the memory the difference wraps around, and is too large too.
	into := at.Addr() - uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	return int64(into), into < uintptr(len(memory))
}

// Catch is Inside for faults of reads: the byte, in memory that the caller keeps
// mapped, cannot be read now either. It misses a fault of a read that would work
// a moment later, which only who has not tried to write can tell from a write.
func Catch(recovered any, memory []byte) (offset int64, fault bool) {
	offset, inside := Inside(recovered, memory)
	return offset, inside && !readable(memory, offset)
}

// readable says whether a byte of the memory can be read now.
func readable(memory []byte, offset int64) (ok bool) {
	old := Enter()
	defer func() {
		Leave(old)
		ok = recover() == nil
	}()
	touch(&memory[offset])
	return true
}

// touch reads a byte, which the compiler must not leave out.
//
//go:noinline
func touch(b *byte) byte { return *b }
