package mmapkv

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// slowFS is a disk. Once armed, it blocks one call of a kind until release.
type slowFS struct {
	vfs.FS
	call    func(kind, name string) bool
	armed   atomic.Bool
	waiting chan struct{}
	release chan struct{}
}

func (d *slowFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	return &slowDir{dir, d}, err
}

func (d *slowFS) slow(kind, name string) {
	if d.armed.Load() && d.call(kind, name) && d.armed.Swap(false) {
		d.waiting <- struct{}{}
		<-d.release
	}
}

type slowDir struct {
	vfs.Dir
	disk *slowFS
}

func (d *slowDir) Create(name string) (vfs.File, error) {
	d.disk.slow("create", name)
	f, err := d.Dir.Create(name)
	return &slowFile{f, d.disk, name}, err
}

func (d *slowDir) Open(name string) (vfs.File, error) {
	f, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return &slowFile{f, d.disk, name}, nil
}

type slowFile struct {
	vfs.File
	disk *slowFS
	name string
}

func (f *slowFile) Datasync() error {
	f.disk.slow("sync", f.name)
	return f.File.Datasync()
}

// Compact returns when its context ends, whichever step of sealing it waits for. Nothing
// is lost, and the store works on.
func TestCancelledCompactReturnsWhileItSeals(t *testing.T) {
	for what, c := range map[string]struct {
		call  func(kind, name string) bool
		phase string // of the compaction, at which the disk turns slow; "": at the start
	}{
		"sync of the log":              {func(kind, name string) bool { return kind == "sync" && strings.HasSuffix(name, ".seg") }, ""},
		"hint":                         {func(kind, name string) bool { return kind == "create" && strings.Contains(name, ".hint") }, ""},
		"manifest":                     {func(kind, name string) bool { return kind == "sync" && name == "MANIFEST" }, ""},
		"sync of the log, when copied": {func(kind, name string) bool { return kind == "sync" }, "copied"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			disk := &slowFS{FS: vfs.OS(), call: c.call, waiting: make(chan struct{}), release: make(chan struct{})}
			o := byHand()
			o.SegmentSize, o.Sync = 1<<20, fsync.Never
			var s *Store
			inject.Into(o, &inject.Seams{FS: disk, Between: func(phase string) {
				if phase == c.phase {
					put(t, s, "unsynced", "value")
					disk.armed.Store(true)
				}
			}})
			s = open(t, dir, o)
			fill(t, s, 0, 300, 100)
			fill(t, s, 0, 300, 100)
			disk.armed.Store(c.phase == "")
			ctx, cancel := context.WithCancel(t.Context())
			compacted := make(chan error, 1)
			go func() { compacted <- s.Compact(ctx) }()
			select {
			case <-disk.waiting:
			case err := <-compacted:
				t.Fatalf("Compact did not come so far: %v", err)
			}
			cancel()
			select {
			case err := <-compacted:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Compact: %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("Compact does not return")
				close(disk.release)
				return
			}
			close(disk.release)
			put(t, s, "later", "value")
			wantFilled(t, s, 0, 300, 100)
			closeStore(t, s)
			s = open(t, dir, nil)
			wantFilled(t, s, 0, 300, 100)
			wantValue(t, s, "later", "value")
			if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
				t.Errorf("Open reports damage: %v", damages)
			}
		})
	}
}

// When its context ends between two runs, Compact skips the other runs. Finished runs stay
// rewritten, nothing is lost, and the next Compact does the rest.
func TestCompactIsCancelledBetweenTwoRuns(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true, Between: func(phase string) {
		if phase == "retired" {
			runs++
			cancel()
		}
	}})
	s := open(t, dir, o)
	fill(t, s, 0, 400, 100)
	fill(t, s, 0, 100, 100) // puts one run before the keys that stay
	fill(t, s, 300, 400, 100)
	before := s.Stats().DeadBytes
	if err := s.Compact(ctx); !errors.Is(err, context.Canceled) || runs != 1 {
		t.Fatalf("Compact: %v, after %d runs", err, runs)
	}
	between := s.Stats().DeadBytes
	if between == 0 || between >= before {
		t.Errorf("%d dead bytes have become %d by one run", before, between)
	}
	wantFilled(t, s, 0, 400, 100)
	compactAll(t, s)
	if after := s.Stats().DeadBytes; after >= between || runs < 2 {
		t.Errorf("%d dead bytes have become %d by the next Compact, after %d runs", between, after, runs)
	}
	closeStore(t, s)
	wantSound(t, verified(t, dir))
	wantFilled(t, open(t, dir, byHand()), 0, 400, 100)
}

// When its context ends before it begins, or while it sweeps expired records, Compact
// leaves the log as it is. The next Compact sweeps the remaining records.
func TestCompactIsCancelledWhileItSweeps(t *testing.T) {
	disk, o := errorfs.New(vfs.OS()), byHand()
	now := time.UnixMilli(1_000_000)
	o.SegmentSize, o.Sync = 1<<20, fsync.Never
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, Now: func() time.Time { return now }})
	s := open(t, t.TempDir(), o)
	const sessions = 2000
	for i := range sessions {
		key, value := numbered(i, 100)
		if err := s.PutWithTTL(key, value, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "stays", "value")
	now = now.Add(time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Compact(ctx); !errors.Is(err, context.Canceled) || s.Len() != sessions+1 {
		t.Errorf("cancelled before: %v, %d keys", err, s.Len())
	}
	ctx, cancel = context.WithCancel(t.Context())
	disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Read && strings.HasSuffix(op.Name, ".seg") {
			cancel()
		}
		return false
	}})
	if err := s.Compact(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it sweeps: %v", err)
	}
	disk.Heal()
	if left := s.Len() - 1; left == 0 || left >= sessions {
		t.Errorf("%d of %d keys are left by half a sweep", left, sessions)
	}
	if segments := s.Stats().Segments; len(segments) != 1 || segments[0].Sealed {
		t.Errorf("the log has gone on: %+v", segments)
	}
	compactAll(t, s)
	if s.Len() != 1 {
		t.Errorf("%d keys are left", s.Len())
	}
	wantValue(t, s, "stays", "value")
}
