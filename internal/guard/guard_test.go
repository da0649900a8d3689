//go:build linux || darwin || freebsd

package guard

import (
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/edsrzf/mmap-go"
)

// mapFile maps two pages of a file.
func mapFile(t *testing.T) (file *os.File, memory []byte) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(int64(2 * os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	mapped, err := mmap.Map(file, mmap.RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(mapped.Unmap(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	return file, mapped
}

func cut(t *testing.T, file *os.File, size int) {
	t.Helper()
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
}

// recovered returns what a function panics with under the guard.
func recovered(do func()) (r any) {
	old := Enter()
	defer func() {
		Leave(old)
		r = recover()
	}()
	do()
	return nil
}

var sink struct {
	b    byte
	s    string
	sum  uint32
	copy [64]byte
}

func TestFaultOfAnyReadIsCaught(t *testing.T) {
	file, memory := mapFile(t)
	page := os.Getpagesize()
	cut(t, file, page)
	for what, read := range map[string]func(){
		"index":            func() { sink.b = memory[page+100] },
		"copy":             func() { copy(sink.copy[:], memory[page+100:]) },
		"append":           func() { _ = append([]byte(nil), memory[page+100:]...) },
		"string":           func() { sink.s = string(memory[page+100:]) },
		"CRC":              func() { sink.sum = crc32.Checksum(memory[page+100:], crc32.MakeTable(crc32.Castagnoli)) },
		"across the pages": func() { sink.s = string(memory[page-3 : page+3]) },
	} {
		offset, fault := Catch(recovered(read), memory)
		if !fault || offset < int64(page) || offset >= int64(2*page) {
			t.Errorf("%s: fault %v at offset %d", what, fault, offset)
		}
		if _, fault := Catch(recovered(read), memory[:page]); fault {
			t.Errorf("%s: taken for a fault of the memory before it", what)
		}
	}
	if r := recovered(func() { sink.b = memory[page-1] }); r != nil {
		t.Errorf("reading an existing byte: %v", r)
	}
}

func TestFaultThatHasHealedIsNone(t *testing.T) {
	file, memory := mapFile(t)
	cut(t, file, 0)
	r := recovered(func() { sink.b = memory[0] })
	if _, fault := Catch(r, memory); !fault {
		t.Errorf("no fault: %v", r)
	}
	cut(t, file, len(memory))
	if _, fault := Catch(r, memory); fault {
		t.Error("the byte is readable, but Catch still reports a fault")
	}
}

func TestCatchLeavesTheSetting(t *testing.T) {
	file, memory := mapFile(t)
	cut(t, file, 0)
	r := recovered(func() { sink.b = memory[0] })
	Catch(r, memory)
	if on := debug.SetPanicOnFault(false); on {
		t.Error("after Catch, faults are panics outside any guard")
	}
}

func TestOtherPanicsAreNotCaught(t *testing.T) {
	file, memory := mapFile(t)
	_, other := mapFile(t)
	otherFile, gone := mapFile(t)
	cut(t, otherFile, 0)
	cut(t, file, os.Getpagesize())

	var nothing *int
	for what, do := range map[string]func(){
		"no panic":               func() {},
		"an error":               func() { panic(errors.New("mine")) },
		"a nil dereference":      func() { *nothing = 1 },
		"an index out of range":  func() { sink.b = memory[len(memory):][0] },
		"another memory's fault": func() { sink.b = gone[0] },
		"a write into read-only": func() { memory[0] = 1 },
		"a write elsewhere":      func() { other[0] = 1 },
	} {
		r := recovered(do)
		if (r == nil) != (what == "no panic") {
			t.Errorf("%s: panicked with %v", what, r)
		}
		for _, m := range [][]byte{memory, {}, nil} {
			if offset, fault := Catch(r, m); fault {
				t.Errorf("%s was taken for a fault at offset %d", what, offset)
			}
		}
	}
}

func TestEnterAndLeaveNest(t *testing.T) {
	file, memory := mapFile(t)
	cut(t, file, 0)
	for _, before := range []bool{false, true} {
		debug.SetPanicOnFault(before)
		outer := Enter()
		r := recovered(func() { sink.b = memory[0] })
		if _, fault := Catch(r, memory); !fault {
			t.Errorf("a nested guard did not catch: %v", r)
		}
		if on := debug.SetPanicOnFault(true); !on {
			t.Error("a nested guard and Catch disabled the outer one")
		}
		Leave(outer)
		if after := debug.SetPanicOnFault(false); after != before || outer != before {
			t.Errorf("before the guard %v, after it %v", before, after)
		}
	}
}

func BenchmarkGuardedRead(b *testing.B) {
	memory := make([]byte, 64)
	read := func() {
		old := Enter()
		defer func() {
			Leave(old)
			if r := recover(); r != nil {
				panic(r)
			}
		}()
		sink.b = memory[0]
	}
	for b.Loop() {
		read()
	}
}
