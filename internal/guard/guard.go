// Package guard turns faults in mapped memory into errors.
//
// Memory that shows a file faults when the file has been cut or its disk cannot
// be read, and by default a fault ends the process. Under Enter it is a panic,
// of this goroutine only, that Catch can tell from any other.
//
// What must hold: a panic is taken for a fault of a read only if its address
// lies in that read's memory and the byte there still cannot be read. Everything
// else, a caller's own panic or a write into read-only memory, goes on unchanged.
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

// Catch says whether a recovered value is a fault in the memory, which the
// caller keeps mapped, and at which address.
func Catch(recovered any, memory []byte) (offset int64, fault bool) {
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
	if into >= uintptr(len(memory)) {
		return 0, false
	}
	return int64(into), !readable(memory, into)
}

// readable says whether a byte of the memory can be read now.
func readable(memory []byte, offset uintptr) (ok bool) {
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
