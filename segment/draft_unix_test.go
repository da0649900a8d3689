//go:build unix

package segment

import (
	"bytes"
	"runtime/debug"
	"syscall"
	"testing"
)

func TestDraftSurvivesAFaultWhileCopying(t *testing.T) {
	memory, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Munmap(memory); err != nil {
			t.Error(err)
		}
	}()
	var d, want Draft
	faulty := func(key, value []byte) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if recover() == nil {
				t.Error("no fault")
			}
		}()
		d.Put(key, value, 7)
	}
	faulty([]byte("first"), memory)
	for _, draft := range []*Draft{&d, &want} {
		draft.Put([]byte("a"), []byte("1"), 0)
		if draft == &d {
			faulty(memory, nil)
			faulty([]byte("b"), memory)
		}
		draft.Delete([]byte("c"))
	}
	if d.Len() != 2 || !bytes.Equal(d.Finish(fullPlacement), want.Finish(fullPlacement)) {
		t.Errorf("%d entries, or the bytes differ", d.Len())
	}
}
