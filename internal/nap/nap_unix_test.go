//go:build unix

package nap

import (
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// A goroutine in a system call for long leaves its processor to others, one that
// makes many calls does not, and which it is only those who know the second can tell.
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
		t.Error("a call that lasts keeps a processor busy for ever")
	}
	if !becomes(n, true, busy) {
		t.Error("with a known foreground the call does not count")
	}
}
