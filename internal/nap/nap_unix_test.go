//go:build unix

package nap

import (
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// A goroutine in one long system call leaves its processor to others, and one that makes many
// short calls does not. Only a caller that knows of the foreground can tell them apart.
func TestLongCallsMayBeBusy(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { syscall.Read(ends[0], make([]byte, 1)) })
	defer reading.Wait()
	defer syscall.Close(ends[0])
	defer syscall.Close(ends[1])
	n := New()
	defer n.Close()
	if !becomes(n, false, perhapsBusy) {
		t.Error("a long call keeps a processor busy forever")
	}
	if !becomes(n, true, busy) {
		t.Error("with a known foreground the call does not count")
	}
}
