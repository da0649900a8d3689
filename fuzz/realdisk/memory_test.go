//go:build linux && !race

// Race builds copy files to the heap instead of mapping them.

package realdisk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/memgroup"
	"github.com/mmapkv/mmapkv/mmapkv"
)

const (
	memoryLimit = 32 << 20
	memoryData  = 3 * memoryLimit

	// Tell the child of TestLittleMemory which control group to join, and where to put the
	// data.
	groupVariable = "MMAPKV_REALDISK_GROUP"
	dataVariable  = "MMAPKV_REALDISK_DATA"
)

// TestLittleMemory loads, reads and compacts three times as many bytes as the control group of
// the process may have in memory. Everything works, and the process is not killed.
func TestLittleMemory(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		// The child may be killed, so the parent cleans up.
		t.Setenv(groupVariable, newMemoryGroup(t))
		t.Setenv(dataVariable, diskDir(t))
	}
	if !alone(t) {
		return
	}
	joinMemoryGroup(t, os.Getenv(groupVariable))
	options := mmapkv.Options{SegmentSize: 4 << 20, Sync: fsync.Every(100 * time.Millisecond)}
	s := openChecked(t, os.Getenv(dataVariable), options)
	const size = 64 << 10
	want := func(from, step int) {
		t.Helper()
		buffer := make([]byte, 0, size)
		for i := from; i < memoryData/size; i += step {
			value, err := s.AppendGet(buffer, fmt.Append(nil, i))
			if err != nil || len(value) != size || value[0] != byte(i) || value[size-1] != byte(i) {
				t.Fatalf("value %d: %d bytes, %v", i, len(value), err)
			}
		}
	}
	value := make([]byte, size)
	for i := range memoryData / size {
		for j := range value {
			value[j] = byte(i)
		}
		if err := s.Put(fmt.Append(nil, i), value); err != nil {
			t.Fatal(err)
		}
	}
	want(0, 1)
	for i := 0; i < memoryData/size; i += 2 {
		if err := s.Delete(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	want(1, 2)
	shown := 0
	if err := s.Range(func(_, _ []byte) error { shown++; return nil }); err != nil || shown != memoryData/size/2 {
		t.Fatalf("Range shows %d pairs, %v", shown, err)
	}
	s.mustClose()
	s.open()
	want(1, 2)
	s.mustClose()
	wantReclaimed(t, os.Getenv(groupVariable))
}

// wantReclaimed checks that the group hit its memory limit.
func wantReclaimed(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"memory.failcnt", "memory.events"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		text := "\n" + string(content)
		if text == "\n0\n" || strings.Contains(text, "\nmax 0\n") {
			t.Errorf("the group never hit its memory limit: %s says %s", name, content)
		}
		return
	}
	t.Error("the control group does not say whether it hit its limit")
}

// newMemoryGroup creates a control group that limits its processes to memoryLimit bytes of
// memory.
func newMemoryGroup(t *testing.T) (dir string) {
	t.Helper()
	dir, err := memgroup.New(memoryLimit)
	if err != nil {
		lacks(t, fmt.Sprint("a control group for memory: ", err))
	}
	t.Cleanup(func() {
		if err := memgroup.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func joinMemoryGroup(t *testing.T, dir string) {
	t.Helper()
	if err := memgroup.Join(dir); err != nil {
		lacks(t, fmt.Sprint("joining a control group: ", err))
	}
}

// diskDir returns a directory on a disk, not in memory.
func diskDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "mmapkv-test-")
	if err != nil {
		lacks(t, fmt.Sprint("a directory on a disk: ", err))
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	if kind := uint32(stat.Type); kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC {
		lacks(t, "a disk under /var/tmp")
	}
	return dir
}
