package mmapkv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// readWalks are ways to go over all keys of a moment. Each ends with the cursor's first error, and
// returns how many keys it saw.
var readWalks = map[string]func(m *moment, c *order.Cursor) (n int){
	"forward": func(_ *moment, c *order.Cursor) (n int) {
		for ok := c.First(); ok; ok = c.Next() {
			n++
		}
		return n
	},
	"backward": func(_ *moment, c *order.Cursor) (n int) {
		for ok := c.Last(); ok; ok = c.Prev() {
			n++
		}
		return n
	},
	"seeks": func(m *moment, c *order.Cursor) (n int) {
		for _, key := range m.keys {
			if c.SeekGE([]byte(key)) && string(c.Entry().Key) == key {
				n++
			}
			if c.Err() == nil {
				c.Prev()
				c.SeekLT([]byte(key))
			}
		}
		return n
	},
	"batches": func(_ *moment, c *order.Cursor) int { return fillAll(c, c.First(), false) },
	"batches backward": func(_ *moment, c *order.Cursor) int {
		return fillAll(c, c.Last(), true)
	},
}

// fillAll fills from the key that the cursor stands at, if it stands, to the end.
func fillAll(c *order.Cursor, stands, reverse bool) (n int) {
	if !stands {
		return 0
	}
	into := make([]order.Entry, 256)
	for n = 1; ; {
		got := c.Fill(into, reverse)
		if n += got; got < len(into) {
			return n
		}
	}
}

const viewed = "a view"

// A scan of these meets each kind of run that there is.
var statesToRead = map[string]func(t *testing.T, s *Store, model map[string]string) *moment{
	"nothing is sorted": captured,
	viewed: func(t *testing.T, s *Store, model map[string]string) *moment {
		scanOnce(t, s)
		if _, err := stepView(s); err != nil {
			t.Fatal(err)
		}
		return captured(t, s, model)
	},
	"records above its number are sorted": func(t *testing.T, s *Store, model map[string]string) *moment {
		m := captured(t, s, model)
		for round := range 3 {
			overwriteHalf(t, s, model, round)
		}
		scanOnce(t, s)
		return m
	},
	"what is sorted is merged with more": func(t *testing.T, s *Store, model map[string]string) *moment {
		scanOnce(t, s)
		newer := maps.Clone(model)
		for round := range 3 {
			overwriteHalf(t, s, newer, round)
		}
		return captured(t, s, newer)
	},
}

func captured(t *testing.T, s *Store, model map[string]string) *moment { return capture(t, s, model) }

// scanOnce has what is there sorted.
func scanOnce(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Scan(ScanOptions{KeysOnly: true}, func(_, _ []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// overwriteHalf puts another value of every other key, and puts it into the model.
func overwriteHalf(t *testing.T, s *Store, model map[string]string, round int) {
	t.Helper()
	for i, key := range slices.Sorted(maps.Keys(model)) {
		if i%2 == 0 {
			model[key] = fmt.Sprint("newer ", round)
			put(t, s, key, model[key])
		}
	}
}

// Each read of a file that a scan makes fails once: then the scan says so, or is right, and the next
// one is right. No file is mapped, so every head of a record and every part of a table is read. Batches
// of many keys are gathered in blocks, and not each of their reads is tried.
func TestEveryReadOfAScanFailsOnce(t *testing.T) {
	for _, size := range []struct{ keys, step int }{{8, 1}, {160, 61}} {
		dir, model := t.TempDir(), map[string]string{}
		s := open(t, dir, readOptions())
		for range 9 {
			fill(t, s, 0, size.keys, 20)
			s.endForTest(t)
		}
		fill(t, s, 0, size.keys, 20)
		for i := range size.keys {
			key, value := numbered(i, 20)
			model[string(key)] = string(value)
		}
		closeStore(t, s)
		for state, prepare := range statesToRead {
			for walk, over := range readWalks {
				if size.keys > 100 && !strings.HasPrefix(walk, "batches") {
					continue
				}
				step := size.step
				if state == viewed {
					step = 1
				}
				failed := 0
				for nth, fired := 1, true; fired; nth += step {
					var err error
					if err, fired = failRead(t, copyDir(t, dir), maps.Clone(model), prepare, over, nth); err != nil {
						failed++
					}
				}
				if failed == 0 && state != viewed { // a scan goes on without a view, and makes a table anew
					t.Errorf("%s, %s: no read has failed", state, walk)
				}
			}
		}
	}
}

func readOptions() *Options {
	o := byHand()
	o.SegmentSize = 128 << 10
	return o
}

// failRead walks over a store while its nth read fails, and returns the walk's error, and whether there
// were so many reads.
func failRead(t *testing.T, dir string, model map[string]string, prepare func(*testing.T, *Store, map[string]string) *moment, walk func(*moment, *order.Cursor) int, nth int) (err error, fired bool) {
	t.Helper()
	disk, o := errorfs.New(vfs.OS()), readOptions()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.Map), Forever: true, Err: syscall.ENOMEM})
	s := open(t, dir, o)
	m := prepare(t, s, model)
	before := disk.Fired()
	disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.Read), Nth: nth, Err: syscall.EIO})
	c := m.state.Cursor()
	n := walk(m, c)
	err, fired = c.Err(), disk.Fired() > before
	c.Close()
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		t.Fatalf("read %d fails: %v", nth, err)
	case err == nil && n != len(m.keys):
		t.Fatalf("read %d fails, and %d keys of %d come", nth, n, len(m.keys))
	}
	disk.Heal()
	m.wantWhole(t)
	m.state.Release()
	closeStore(t, s)
	return err, fired
}
