package nap

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// A Napper has a descriptor from its first nap to Close, and none before or after.
func TestNapperAtRestHasNoDescriptor(t *testing.T) {
	n := New()
	n.nap(time.Microsecond) // the runtime's poller takes some of its own
	n.Close()
	before := descriptors(t)
	n = New()
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors before the first nap", now-before)
	}
	n.nap(time.Microsecond)
	if now := descriptors(t); now != before+1 {
		t.Errorf("%d descriptors after a nap", now-before)
	}
	n.Close()
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors after Close", now-before)
	}
}

// A Napper naps even when the process has no descriptor left.
func TestNapWithoutDescriptors(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	n := New()
	defer n.Close()
	began := time.Now()
	n.nap(2 * time.Millisecond)
	if took := time.Since(began); took < 2*time.Millisecond || n.timer.file != nil {
		t.Errorf("a nap of 2 ms ended after %v", took)
	}
}
