package mmapkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// clock calls the functions that stores have registered when a test lets a second pass.
type clock struct {
	mu        sync.Mutex
	functions map[int]func()
	next      int
}

func (c *clock) every(fn func()) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.functions == nil {
		c.functions = map[int]func(){}
	}
	n := c.next
	c.next++
	c.functions[n] = fn
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.functions, n)
	}
}

func (c *clock) second() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fn := range c.functions {
		fn()
	}
}

// watched is a store with a clock that the test advances.
func watched(t *testing.T, dir string, policy fsync.Policy, segmentSize int64) (*Store, *clock) {
	t.Helper()
	c := new(clock)
	o := &Options{SegmentSize: segmentSize, Sync: policy}
	inject.Into(o, &inject.Seams{Every: c.every})
	return open(t, dir, o), c
}

// settle lets seconds pass until a glance has nothing to do.
func settle(s *Store, c *clock) {
	for range 3 {
		c.second()
		for s.watcher.looking.Load() {
			time.Sleep(time.Millisecond)
		}
	}
}

var everyPolicy = []fsync.Policy{fsync.Always, fsync.Every(time.Hour), fsync.Never}

// losses are what can happen to the files of an open store, and what it says then.
var losses = []struct {
	what string
	do   func(t *testing.T, dir string) error
	says string
}{
	{"the directory is removed", func(_ *testing.T, dir string) error { return os.RemoveAll(dir) }, "directory was removed"},
	{"its files are removed", func(_ *testing.T, dir string) error {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		for _, name := range names {
			err = errors.Join(err, os.Remove(name))
		}
		return err
	}, "MANIFEST was removed"},
	{"MANIFEST goes away", func(t *testing.T, dir string) error {
		return os.Rename(filepath.Join(dir, "MANIFEST"), filepath.Join(t.TempDir(), "MANIFEST"))
	}, "MANIFEST was removed"},
	{"a copy takes the place of MANIFEST", func(_ *testing.T, dir string) error { return replace(filepath.Join(dir, "MANIFEST")) }, "replaced by another file"},
	{"LOCK is removed", func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, "LOCK")) }, "LOCK was removed"},
	{"a copy takes the place of LOCK", func(_ *testing.T, dir string) error { return replace(filepath.Join(dir, "LOCK")) }, "LOCK was removed or replaced"},
	{"a copy takes the place of the file being written", func(_ *testing.T, dir string) error {
		names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		return errors.Join(err, replace(names[len(names)-1]))
	}, "being written, was removed or replaced"},
	{"the file being written is removed", func(_ *testing.T, dir string) error {
		names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		return errors.Join(err, os.Remove(names[len(names)-1]))
	}, "being written, was removed"},
}

// replace puts a copy of a file in the file's place.
func replace(name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(name+".copy", content, 0o600), os.Rename(name+".copy", name))
}

// A store notices within a second that its files have lost their names. It then refuses
// writes and says why. Reads go on, and Close returns.
func TestStoreNoticesThatItsFilesAreGone(t *testing.T) {
	for _, policy := range everyPolicy {
		for _, loss := range losses {
			t.Run(fmt.Sprint(policy, ", ", loss.what), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				s, c := watched(t, dir, policy, 1<<20) // nothing of it is sealed
				fill(t, s, 0, 100, 100)
				settle(s, c)
				if err := loss.do(t, dir); err != nil {
					t.Fatal(err)
				}
				c.second()
				waitFor(t, "the store to notice", func() bool { return s.latch.Err() != nil })
				for what, err := range map[string]error{
					"Put": s.Put([]byte("k"), nil), "Delete": s.Delete([]byte("absent")), "Sync": s.Sync(),
					"Compact": s.Compact(t.Context()), "Stats": s.Stats().Err,
				} {
					if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), loss.says) {
						t.Errorf("%s: %v", what, err)
					}
				}
				wantFilled(t, s, 0, 100, 100)
				if err := s.Close(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), loss.says) {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
}

// Sync checks the files at once, and so does each change of the manifest. The store never
// overwrites what somebody else has put in a file's place.
func TestSyncAndEditNoticeThatFilesAreGone(t *testing.T) {
	for _, loss := range losses {
		t.Run(loss.what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s, _ := watched(t, dir, fsync.Always, 1<<20)
			put(t, s, "k", "v")
			if err := loss.do(t, dir); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), loss.says) {
				t.Errorf("Sync: %v", err)
			}
		})
	}
	dir := t.TempDir()
	s, _ := watched(t, dir, fsync.Never, minSegmentSize)
	put(t, s, "k", "v")
	if err := replace(filepath.Join(dir, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * minSegmentSize / 100 { // until the log needs another file
		if err = s.Put(fmt.Append(nil, i), make([]byte, 100)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "replaced by another file") {
		t.Errorf("Put where the log needs another file: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "MANIFEST")); err != nil || string(after) != string(before) {
		t.Errorf("the file that somebody put there was overwritten (%v)", err)
	}
}

// Changes that leave the files where they are do not fail the store: a renamed directory,
// other files in it, links, another mode, and everything that the store itself does.
func TestStoreIsContentWithItsFiles(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	s, c := watched(t, dir, fsync.Every(time.Hour), minSegmentSize)
	name := filepath.Join(dir, "MANIFEST")
	for what, do := range map[string]func() error{
		"nothing":          func() error { return nil },
		"another mode":     func() error { return os.Chmod(name, 0o400) },
		"a link":           func() error { return os.Link(name, filepath.Join(parent, "link")) },
		"another file":     func() error { return os.WriteFile(filepath.Join(dir, "note"), nil, 0o600) },
		"rotations":        func() error { fill(t, s, 0, 300, 100); return s.Sync() },
		"compactions":      func() error { fill(t, s, 0, 300, 100); return s.Compact(t.Context()) },
		"a renamed parent": func() error { return os.Rename(dir, filepath.Join(parent, "renamed")) },
	} {
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := os.Stat(dir); err != nil {
			dir = filepath.Join(parent, "renamed")
			name = filepath.Join(dir, "MANIFEST")
		}
		settle(s, c)
		if err := s.latch.Err(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	closeStore(t, s)
	wantFilled(t, open(t, dir, nil), 0, 300, 100)
}

// Glances work beside writers that need another file every few records.
func TestGlancesBesideWriters(t *testing.T) {
	s, c := watched(t, t.TempDir(), fsync.Never, minSegmentSize)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				c.second()
			}
		}
	})
	fill(t, s, 0, 2000, 100)
	if err := s.Compact(t.Context()); err != nil {
		t.Error(err)
	}
	close(done)
	group.Wait()
	if err := s.latch.Err(); err != nil {
		t.Error(err)
	}
	wantFilled(t, s, 0, 2000, 100)
}

// A store that nobody uses wakes no goroutine: a glance finds nothing to do.
func TestIdleStoreRests(t *testing.T) {
	for _, policy := range everyPolicy {
		s, c := watched(t, t.TempDir(), policy, minSegmentSize)
		fill(t, s, 0, 10, 100)
		settle(s, c)
		for second := range 9 {
			c.second()
			if s.watcher.looking.Load() {
				t.Errorf("%v: a goroutine was woken in second %d", policy, second)
			}
		}
		if n := len(c.functions); n != 1 {
			t.Errorf("%v: %d functions are registered", policy, n)
		}
		closeStore(t, s)
		if n := len(c.functions); n != 0 {
			t.Errorf("%v: %d functions are registered behind Close", policy, n)
		}
	}
}

// If the disk cannot tell, for now or ever, which file MANIFEST is, the store does not fail.
func TestDiskThatCannotTell(t *testing.T) {
	power := crashfs.New()
	disk := errorfs.New(power)
	s := openOnDisk(t, disk, fsync.Always)
	put(t, s, "a", "1")
	for _, err := range []error{syscall.EIO, syscall.ENOMEM, syscall.ENOSYS} {
		disk.Fail(errorfs.Rule{Err: err, Match: errorfs.Only(errorfs.Identify), Forever: true})
		fill(t, s, 0, 100, 100)
		if _, err := s.stepWatch(); err != nil {
			t.Fatal(err)
		}
		disk.Heal()
		if _, err := s.stepWatch(); err != nil {
			t.Fatal(err)
		}
	}
	if !s.catalog.Manifest.Identified {
		t.Error("the manifest is not looked at again")
	}
	d, err := power.OpenDir("/store")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Remove(segment.ManifestName); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stepWatch(); !errors.Is(err, ErrFailed) {
		t.Errorf("a removed manifest: %v", err)
	}
	wantValue(t, s, "a", "1")
}

// The clock that all stores share finds it without a test's help, too.
func TestProcessClockFindsARemovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, nil)
	put(t, s, "k", "v")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "writes to fail", func() bool { return errors.Is(s.Put([]byte("k"), nil), ErrFailed) })
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is there again: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
}
