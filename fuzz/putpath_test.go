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

// maxRooms is the maximum number of rooms between the call of Put and a pwrite.
const maxRooms = 3

// windingPaths are the paths that have more rooms, or enter one of them twice. The list may
// only shrink.
var windingPaths = []string{
	"mmapkv > fsync > mmapkv > segment", // the record: package fsync picks the leader, and calls the store back
	"mmapkv > fsync > mmapkv",           // an edit of the manifest, when the record needs a new file
	"mmapkv > fsync > mmapkv > fsync",   // a full copy of the manifest
}

// TestPathOfAPut counts the rooms that a reader of the code has to cross to follow a Put to the
// disk. A room is a package of the module. The test looks at the stack when the disk is written
// to, so it sees direct calls, calls through interfaces and calls of function values alike. A
// room counts each time the path enters it, from (*Store).Put to the last room above
// internal/vfs, on which all of them rest.
func TestPathOfAPut(t *testing.T) {
	paths := map[string]bool{}
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
		notePaths(t, policy, paths)
	}
	records := false
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		t.Log(path)
		records = records || strings.HasSuffix(path, "segment")
		rooms := strings.Split(path, " > ")
		distinct := slices.Compact(slices.Sorted(slices.Values(rooms)))
		if straight := len(rooms) <= maxRooms && len(distinct) == len(rooms); !straight && !slices.Contains(windingPaths, path) {
			t.Errorf("a Put takes the path %s", path)
		} else if straight && slices.Contains(windingPaths, path) {
			t.Errorf("the path %s is short enough; remove it from windingPaths", path)
		}
	}
	if !records {
		t.Error("no record was written")
	}
	for _, path := range windingPaths {
		if !paths[path] {
			t.Errorf("no Put takes the path %s any more", path)
		}
	}
}

// notePaths records the paths by which Puts write: some fit into the log's current file, some
// need a new file, some get a file of their own.
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

// pathOfPut returns the rooms on the stack between a Put and the caller, nil if no Put is on
// the stack.
func pathOfPut() (path []string) {
	const module = "github.com/mmapkv/mmapkv/"
	var pcs [100]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if name, ours := strings.CutPrefix(frame.Function, module); ours {
			at := strings.LastIndex(name, "/") + 1
			room := name[:at+strings.Index(name[at:], ".")]
			below := room == "fuzz" || strings.HasPrefix(room, "internal/") // the test, its disk, and what all rooms rest on
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
