package mmapkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
	"github.com/mmapkv/mmapkv/segment"
)

// tabled is a store of several sealed segments, without background work, and what it has.
func tabled(t *testing.T, o *Options) (s *Store, dir string, model map[string]string) {
	t.Helper()
	dir, model = t.TempDir(), map[string]string{}
	o.SegmentSize = 16 << 10
	inject.Into(o, &inject.Seams{Manual: true})
	s = open(t, dir, o)
	for i := range 1500 {
		key := fmt.Sprintf("key-%04d", i*7919%1200)
		if i%11 == 3 {
			delete(model, key)
			if err := s.Delete([]byte(key)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		model[key] = fmt.Sprint("value ", i)
		put(t, s, key, model[key])
	}
	for {
		if did, err := s.log.StepSeal(); err != nil {
			t.Fatal(err)
		} else if !did {
			break
		}
	}
	if n := len(s.catalog.Set().Order); n < 5 {
		t.Fatalf("%d segments", n)
	}
	return s, dir, model
}

// sealedHints are the paths of the hints of the sealed files.
func sealedHints(s *Store, dir string) (paths []string) {
	for _, f := range s.catalog.Set().Order {
		if _, sealed := s.catalog.Files.SealedEnd(f); sealed {
			paths = append(paths, filepath.Join(dir, segment.HintName(f.ID)))
		}
	}
	return paths
}

// flip flips a bit of a file, where it lies.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// rots damage a hint. The store must not notice otherwise than by making the table anew.
var rots = map[string]func(t *testing.T, path string){
	"a bit of a part": func(t *testing.T, path string) { flip(t, path, 300) },
	"every part": func(t *testing.T, path string) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(100); at < info.Size()/2; at += 50 {
			flip(t, path, at)
		}
	},
	"the header": func(t *testing.T, path string) { flip(t, path, 40) },
	"cut off": func(t *testing.T, path string) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	},
	"removed": func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	},
}

// A damaged hint costs time, never a key and never the order: before it is opened as a table, after
// that, and in the middle of a scan.
func TestDamagedTableIsMadeAnew(t *testing.T) {
	for what, rot := range rots {
		for _, when := range []string{"before", "after", "in the middle", "cold"} {
			for how := range 4 {
				eager, viewed := how&1 > 0, how&2 > 0
				t.Run(fmt.Sprintf("%s %s %v %v", what, when, eager, viewed), func(t *testing.T) {
					o := byHand()
					s, dir, model := tabled(t, o)
					s.order.Eager = eager
					if viewed {
						makeView(t, s)
					}
					m := capture(t, s, model)
					defer m.state.Release()
					if when == "after" {
						m.wantWhole(t)
					}
					c := m.state.Cursor()
					at := 400
					if when == "in the middle" {
						if !c.SeekGE([]byte(m.keys[at])) {
							t.Fatal(c.Err())
						}
					}
					for _, f := range s.catalog.Set().Order {
						f.Cold.Store(when == "cold")
					}
					for _, path := range sealedHints(s, dir) {
						rot(t, path)
					}
					if when == "in the middle" {
						for range 10 {
							m.fill(t, c, &at, false, 60)
							m.fill(t, c, &at, true, 90)
						}
					}
					m.wantWhole(t)
					if viewed && what == "every part" {
						makeView(t, s) // the other is not used any more
						m = capture(t, s, model)
						m.wantWhole(t)
						m.state.Release()
					}
					if what == "removed" && len(sealedHints(s, dir)) > 0 {
						if _, err := os.Stat(sealedHints(s, dir)[0]); err == nil {
							t.Error("a scan has written a hint")
						}
					}
				})
			}
		}
	}
}

// If neither the hint nor the records can be read, a scan says so: it neither leaves a key out nor
// shows an older record of it.
func TestDamagedTableOverDamagedRecordsIsAnError(t *testing.T) {
	for _, eager := range []bool{false, true} {
		s, dir, model := tabled(t, byHand())
		s.order.Eager = eager
		m := capture(t, s, model)
		f := s.catalog.Set().Order[1]
		for at := f.DataStart + 200; at < f.Limit(); at += 500 {
			flip(t, filepath.Join(dir, segment.FileName(f.ID)), at)
		}
		rots["every part"](t, filepath.Join(dir, segment.HintName(f.ID)))
		wantCorrupt(t, m.state)
		m.state.Release()
	}
}

// Damage to the records of a file that is not sealed is an error.
func TestDamagedUnsealedFileIsAnError(t *testing.T) { damageUnsealed(t, false) }

// damageUnsealed damages the records of the tail, before or after they were sorted.
func damageUnsealed(t *testing.T, sorted bool) {
	t.Helper()
	s, dir, model := tabled(t, byHand())
	m := capture(t, s, model)
	defer m.state.Release()
	if sorted {
		m.wantWhole(t)
	}
	f := s.log.Tail.File
	for at := f.DataStart + 40; at < f.Limit(); at += 40 {
		flip(t, filepath.Join(dir, segment.FileName(f.ID)), at)
	}
	wantCorrupt(t, m.state)
}

// wantCorrupt expects scans of a State to end with ErrCorrupt, in both directions.
func wantCorrupt(t *testing.T, state *order.State) {
	t.Helper()
	c := state.Cursor()
	for ok := c.First(); ok; ok = c.Next() {
	}
	if !errors.Is(c.Err(), ErrCorrupt) {
		t.Errorf("forward: %v", c.Err())
	}
	if c.First() || c.Last() || c.Next() || c.Fill(make([]order.Entry, 2), false) > 0 {
		t.Error("the cursor goes on after an error")
	}
	c = state.Cursor()
	for ok := c.Last(); ok; ok = c.Prev() {
	}
	if !errors.Is(c.Err(), ErrCorrupt) {
		t.Errorf("backward: %v", c.Err())
	}
}

// A State keeps its files after a compaction has replaced them, and lets go of them at Release.
// Without a State nothing holds them, although the order still knows the set.
func TestStatesHoldAndLetGo(t *testing.T) {
	for _, opened := range []bool{false, true} {
		s, _, model := tabled(t, byHand())
		m := capture(t, s, model)
		if opened {
			m.wantWhole(t)
		}
		old := slices.Clone(s.catalog.Set().Order)
		compactAll(t, s)
		if s.catalog.Retired.Held() == 0 {
			t.Error("nothing is held")
		}
		m.wantWhole(t)
		m.state.Release()
		for _, f := range old {
			if !slices.Contains(s.catalog.Set().Order, f) {
				f.AwaitRelease()
			}
		}
		if held := s.catalog.Retired.Held(); held != 0 {
			t.Errorf("%d bytes are held by nobody", held)
		}
		m = capture(t, s, model) // leaves a plan behind
		m.wantWhole(t)
		m.state.Release()
		put(t, s, "another", "value")
		compactAll(t, s)
		if held := s.catalog.Retired.Held(); held != 0 {
			t.Errorf("the last plan holds %d bytes", held)
		}
		closeStore(t, s)
		if stats := s.order.Stats(); stats != (order.Stats{}) {
			t.Errorf("after Close: %+v", stats)
		}
	}
}

// A store that is never scanned keeps nothing for order. One that is keeps about a byte for each key.
func TestOrderTakesLittleMemory(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 1 << 20, Compaction: Compaction{Disabled: true}})
	fill(t, s, 0, 40_000, 100)
	if stats := s.order.Stats(); stats != (order.Stats{}) {
		t.Errorf("unscanned: %+v", stats)
	}
	state, err := s.order.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer state.Release()
	c := state.Cursor()
	n := 0
	for ok := c.First(); ok; ok = c.Next() {
		n++
	}
	stats := s.order.Stats()
	if c.Err() != nil || n != 40_000 || stats.Tables < 2 || stats.Runs < 1 {
		t.Errorf("%d keys, %+v, %v", n, stats, c.Err())
	}
	if stats.Bytes > 2*int64(n) {
		t.Errorf("%d bytes for %d keys", stats.Bytes, n)
	}
}
