package main

import (
	"encoding/binary"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEveryCommandOpensTheStoreOnce counts how often a command opens the lock file:
// each time it would recover a store that was not closed.
func TestEveryCommandOpensTheStoreOnce(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "store")
	t.Setenv("MMAPKV_DIR", root)
	for store, flags := range map[string][]string{dir: {"--dir", dir}, filepath.Join(root, "name"): {"--namespace", "name"}} {
		do := func(args ...string) {
			t.Helper()
			if code := run(append(flags, args...), strings.NewReader(""), io.Discard, io.Discard); code != exitOK {
				t.Fatalf("%v: exit code %d", args, code)
			}
		}
		do("put", "a", "1")
		do("put", "a", "2")
		once := openedBy(t, filepath.Join(store, "LOCK"), func() { do("put", "b", "1") })
		for _, args := range [][]string{{"put", "--if-absent", "c", "1"}, {"cas", "b", "1", "1"}, {"del", "--prefix", "none"}, {"del", "a", "absent"}, {"compact"}, {"get", "b"}, {"count"}, {"scan", "--prefix", "b"}, {"export"}, {"import", "--no-count"}} {
			opened := openedBy(t, filepath.Join(store, "LOCK"), func() { do(args...) })
			if once == 0 || opened > once {
				t.Errorf("%s takes the lock %d times, but put %d times", args[0], opened, once)
			}
		}
	}
}

// openedBy counts how often a file is opened while do runs.
func openedBy(t *testing.T, path string, do func()) (opened int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	do()
	events := make([]byte, 1<<20)
	n, err := unix.Read(fd, events)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < n; {
		size := int(binary.NativeEndian.Uint32(events[at+12:]))
		name := strings.TrimRight(string(events[at+unix.SizeofInotifyEvent:][:size]), "\x00")
		if name == filepath.Base(path) {
			opened++
		}
		at += unix.SizeofInotifyEvent + size
	}
	return opened
}
