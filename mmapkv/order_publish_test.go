package mmapkv

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// readHook is a file system that calls a function before each read of a file.
type readHook struct {
	vfs.FS
	before func()
}

type readHookDir struct {
	vfs.Dir
	hook *readHook
}

type readHookFile struct {
	vfs.File
	hook *readHook
}

func (h *readHook) OpenDir(path string) (vfs.Dir, error) {
	dir, err := h.FS.OpenDir(path)
	return &readHookDir{dir, h}, err
}

func (d *readHookDir) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &readHookFile{f, d.hook}, nil
}

func (d *readHookDir) Create(name string) (vfs.File, error) { return d.wrap(d.Dir.Create(name)) }
func (d *readHookDir) Open(name string) (vfs.File, error)   { return d.wrap(d.Dir.Open(name)) }
func (d *readHookDir) OpenReadOnly(name string) (vfs.File, error) {
	return d.wrap(d.Dir.OpenReadOnly(name))
}

func (f *readHookFile) ReadAt(p []byte, offset int64) (int, error) {
	if before := f.hook.before; before != nil {
		f.hook.before = nil
		before()
	}
	return f.File.ReadAt(p, offset)
}

// While a group is being published, the index has some of its records and not the others. If a
// compaction drops what these replaced, no set has a state that ever was: a Capture must wait.
func TestCaptureWaitsForThePublishing(t *testing.T) {
	hook, o := &readHook{FS: vfs.OS()}, byHand()
	o.SegmentSize = 4 << 20
	inject.Into(o, &inject.Seams{FS: hook, Manual: true})
	s := open(t, t.TempDir(), o)
	large := strings.Repeat("large", 60_000) // the index does not know its size, so publishing reads it
	put(t, s, "a", "before")
	put(t, s, "large", large)
	put(t, s, "never", "touched again")
	s.endForTest(t)
	captured := make(chan *order.State, 1)
	hooked := false
	hook.before = func() { // the index has the new record of a, and not yet the one of large
		hooked = true
		compacted := make(chan error)
		go func() {
			pacer, done := s.compactor.NewPacer(context.Background())
			defer done()
			_, err := s.compactor.CompactRun(pacer, compact.FilesOf(s.sealedForTest()))
			compacted <- err
		}()
		if err := <-compacted; err != nil {
			t.Error(err)
		}
		go func() {
			state, err := s.order.Capture()
			if err != nil {
				t.Error(err)
			}
			captured <- state
		}()
		for range 10_000 {
			runtime.Gosched()
		}
	}
	var b Batch
	b.Put([]byte("a"), []byte("after"))
	b.Put([]byte("large"), []byte("small"))
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !hooked {
		t.Fatal("publishing reads nothing")
	}
	state := <-captured
	if s.Stats().Compaction.Runs == 0 {
		t.Error("nothing was compacted")
	}
	m := &moment{state: state, keys: []string{"a", "large", "never"},
		value: map[string]string{"a": "after", "large": "small", "never": "touched again"}}
	m.wantWhole(t)
	state.Release()
}
