//go:build (linux || darwin || freebsd) && !race

// Race builds map nothing, so no access faults in them.

package vfs

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/guard"
	"golang.org/x/sys/unix"
)

// faults reports whether reading a byte of the memory faults.
func faults(memory []byte, offset int) (fault bool) {
	old := guard.Enter()
	defer func() {
		guard.Leave(old)
		if r := recover(); r != nil {
			if _, fault = guard.Catch(r, memory); !fault {
				panic(r)
			}
		}
	}()
	seen = memory[offset]
	return false
}

var seen byte

func TestReadBehindTheEndFaults(t *testing.T) {
	page := unix.Getpagesize()
	f := create(t, openDir(t, t.TempDir()), "file", strings.Repeat("x", 3*page))
	m := mapFile(t, f, int64(4*page))
	check := func(what string, whole int) {
		t.Helper()
		for i := range 4 {
			if got := faults(m.Bytes(), i*page); got != (i >= whole) {
				t.Errorf("%s: page %d faults: %v", what, i, got)
			}
		}
	}
	check("three pages of four", 3)
	must(t, f.Truncate(int64(page)))
	check("truncated", 1)
	must(t, f.Allocate(int64(4*page)))
	check("extended", 4)
	must(t, m.Unmap())
}

func TestWriteIntoAMappingIsNoReadFault(t *testing.T) {
	f := create(t, openDir(t, t.TempDir()), "file", "content")
	m := mapFile(t, f, 7)
	defer m.Unmap()
	defer guard.Leave(guard.Enter())
	defer func() {
		if _, fault := guard.Catch(recover(), m.Bytes()); fault {
			t.Error("Catch took a write to read-only memory for a fault of a read")
		}
	}()
	m.Bytes()[0] = 'C'
	t.Error("the mapping is writable")
}

func TestKeptSliceFaultsRatherThanShowAnotherFile(t *testing.T) {
	endQuarantine(t)
	dir := openDir(t, t.TempDir())
	mine, other := create(t, dir, "mine", "mine"), create(t, dir, "other", "other")
	var kept [][]byte
	for range quarantineRanges {
		m := mapFile(t, mine, 4)
		kept = append(kept, m.Bytes())
		must(t, m.Unmap())
	}
	for range 10 * quarantineRanges {
		m := mapFile(t, other, 5)
		defer m.Unmap()
		for i, k := range kept {
			if unsafe.SliceData(k) == unsafe.SliceData(m.Bytes()) {
				t.Fatalf("kept range %d shows another file", i)
			}
		}
	}
	for i, k := range kept {
		if !faults(k, 0) {
			t.Errorf("kept range %d is readable", i)
		}
	}
}

func TestQuarantineEnds(t *testing.T) {
	endQuarantine(t)
	f := create(t, openDir(t, t.TempDir()), "file", "content")
	now := time.Now()
	defer SetQuarantineClock(func() time.Time { return now })()
	check := func(what string, want int) {
		t.Helper()
		if len(mappings.quarantine) != want || mappings.count != want {
			t.Errorf("%s: %d ranges in quarantine, %d counted, want %d", what, len(mappings.quarantine), mappings.count, want)
		}
	}
	unmap := func() {
		t.Helper()
		must(t, mapFile(t, f, 7).Unmap())
	}

	for i := range quarantineRanges + 3 {
		unmap()
		check("full", min(i+1, quarantineRanges))
	}
	now = now.Add(quarantineTime - 1)
	must(t, ReleaseExpired())
	check("not yet", quarantineRanges)
	now = now.Add(1)
	must(t, ReleaseExpired())
	check("a minute later", 0)

	unmap()
	now = now.Add(quarantineTime / 2)
	unmap()
	check("two", 2)
	now = now.Add(quarantineTime / 2)
	unmap()
	check("the first has expired with the third", 2)
	now = now.Add(quarantineTime)
	must(t, ReleaseExpired())
	check("all have expired", 0)
}
