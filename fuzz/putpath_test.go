package fuzz

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// maxRooms is how many rooms a path crosses from the call of Put, in package mmapkv, to a
// pwrite. It enters none of them twice.
const maxRooms = 3

// recordPath is the path by which the record itself reaches its file. The longer ones are
// those of the Puts that begin a new file: they list it in the manifest, and may seal the
// one before.
const recordPath = "mmapkv > mmapkv/internal/wal > segment"

// TestPathOfAPut counts the rooms that a reader of the code has to cross to follow a Put to
// the disk. It does not read the code. It looks at the stack whenever the disk is written
// to, so it misses nobody, whether called directly, by an interface or by a function that
// was handed over. A room is a package of the module, and counts each time that the path
// enters it. The path begins in package mmapkv, which does not count, and ends above
// internal/vfs, the ground that all rooms stand on.
func TestPathOfAPut(t *testing.T) {
	paths := map[string]bool{}
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
		notePaths(t, policy, paths)
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		t.Log(path)
		rooms := strings.Split(path, " > ")
		distinct := slices.Compact(slices.Sorted(slices.Values(rooms)))
		if len(rooms)-1 > maxRooms || len(distinct) < len(rooms) {
			t.Errorf("a Put goes through %s", path)
		}
	}
	if !paths[recordPath] {
		t.Errorf("no record is written by way of %s", recordPath)
	}
}

// notePaths notes by which paths Puts come to write: some that fit into the log's
// file, some that need a new one, some that have one of their own.
func notePaths(t *testing.T, policy fsync.Policy, paths map[string]bool) {
	disk := crashfs.New()
	disk.OnCall = func(_ int, op crashfs.Op) {
		if path := pathOfPut(); op.Kind == crashfs.Write && path != nil {
			paths[strings.Join(path, " > ")] = true
		}
	}
	o := &mmapkv.Options{SegmentSize: 4 << 10, Sync: policy}
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, PageSlots: 8})
	store, err := mmapkv.Open("/store", o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := store.Put(fmt.Append(nil, i%9), make([]byte, i*9)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// pathOfPut is the rooms through which a Put has come to its caller, nil when no Put
// has called it.
func pathOfPut() (path []string) {
	const module = "github.com/mmapkv/mmapkv/"
	var pcs [100]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if name, ours := strings.CutPrefix(frame.Function, module); ours {
			at := strings.LastIndex(name, "/") + 1
			room := name[:at+strings.Index(name[at:], ".")]
			below := room == "fuzz" || strings.HasPrefix(room, "internal/") // the test, its disk, the ground
			if !below && (len(path) == 0 || path[len(path)-1] != room) {
				path = append(path, room)
			}
			if name == "mmapkv.(*Store).Put" {
				slices.Reverse(path)
				return path
			}
		}
		if !more {
			return nil
		}
	}
}
