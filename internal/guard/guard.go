// Package guard turns faults in mapped memory into errors.
//
// Memory that shows a file faults when the file was truncated or its disk cannot be read. By
// default a fault ends the process. After Enter it is a panic, in this goroutine only, that
// Catch can distinguish from any other.
//
// What must hold: a panic counts as a fault of a read only if its address lies in that read's
// memory. If a caller had the memory, and may have tried to write to it, the byte must also
// still be unreadable. Everything else, such as a caller's own panic or a write to read-only
// memory, continues unchanged.
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

// Enter turns faults in this goroutine into panics, and returns the previous setting.
func Enter() (old bool) { return debug.SetPanicOnFault(true) }

// Leave restores the setting that Enter returned.
func Leave(old bool) { debug.SetPanicOnFault(old) }

// Inside reports whether a recovered value is a fault in the memory, of a read or a write, and
// at which offset.
func Inside(recovered any, memory []byte) (offset int64, inside bool) {
	// Such a panic has the text of a nil dereference. Only the address distinguishes them.
	at, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return 0, false
	}
	// For an address before the memory the difference wraps around, so it is too large as well.
	into := at.Addr() - uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	return int64(into), into < uintptr(len(memory))
}

// Catch is Inside for faults of reads only: it also requires that the byte is still unreadable.
// The caller keeps the memory mapped. Catch misses a fault of a read that would succeed a
// moment later. Only a caller that never wrote to the memory can tell such a fault from that of
// a write.
func Catch(recovered any, memory []byte) (offset int64, fault bool) {
	offset, inside := Inside(recovered, memory)
	return offset, inside && !readable(memory, offset)
}

// readable reports whether a byte of the memory can be read now.
func readable(memory []byte, offset int64) (ok bool) {
	old := Enter()
	defer func() {
		Leave(old)
		ok = recover() == nil
	}()
	touch(&memory[offset])
	return true
}

// touch reads a byte. noinline keeps the compiler from dropping the read.
//
//go:noinline
func touch(b *byte) byte { return *b }
