package mmapkv

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
)

// evicted opens a store whose segments are not in memory, if the system agrees to
// evict them.
func evicted(t *testing.T, dir string, o *Options) *Store {
	t.Helper()
	d, err := vfs.OS().OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range segmentFiles(t, dir) {
		f, err := d.OpenReadOnly(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		vfs.Evict(f)
		f.Close()
	}
	return open(t, dir, o)
}

// unwatched is byHand without the goroutine that asks the system which pages are in memory.
func unwatched() *Options {
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true})
	return o
}

func coldFixture(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 500, 300)
	fill(t, s, 500, 505, 700_000) // too long for the index to hold their size
	closeStore(t, s)
	return dir
}

// Every kind of read returns the same whether or not the data is in memory.
func TestColdReads(t *testing.T) {
	dir := coldFixture(t)
	paths := map[string]func(t *testing.T, s *Store){
		"Get": func(t *testing.T, s *Store) {
			wantFilled(t, s, 0, 500, 300)
			wantFilled(t, s, 500, 505, 700_000)
		},
		"View": func(t *testing.T, s *Store) {
			for i := range 505 {
				key, value := numbered(i, 300)
				if i >= 500 {
					key, value = numbered(i, 700_000)
				}
				err := s.View(key, func(got []byte) error {
					if !bytes.Equal(got, value) {
						t.Errorf("key %d shows %d bytes", i, len(got))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		},
		"GetMany": func(t *testing.T, s *Store) {
			var keys [][]byte
			for i := range 500 {
				key, _ := numbered(i, 0)
				keys = append(keys, key)
			}
			err := s.GetMany(keys, func(i int, got []byte, err error) error {
				if _, value := numbered(i, 300); !bytes.Equal(got, value) {
					t.Errorf("key %d shows %d bytes", i, len(got))
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		},
		"Has and TTL": func(t *testing.T, s *Store) {
			for i := range 505 {
				key, _ := numbered(i, 0)
				if has, err := s.Has(key); !has || err != nil {
					t.Errorf("key %d: %v, %v", i, has, err)
				}
				if _, expires, err := s.TTL(key); expires || err != nil {
					t.Errorf("key %d: %v, %v", i, expires, err)
				}
			}
		},
		"Keys and Range": func(t *testing.T, s *Store) {
			keys, pairs := 0, 0
			for range s.Keys() {
				keys++
			}
			if err := s.Range(func(_, _ []byte) error { pairs++; return nil }); err != nil {
				t.Error(err)
			}
			if keys != 505 || pairs != 505 {
				t.Errorf("%d keys and %d pairs", keys, pairs)
			}
		},
	}
	for name, read := range paths {
		t.Run(name, func(t *testing.T) {
			s := evicted(t, dir, byHand())
			for _, f := range s.catalog.Set().Order {
				f.Cold.Store(true) // even if the system has not evicted it
			}
			read(t, s)
		})
	}
}

// The system decides which files are cold; reads and Preload bring them back.
func TestColdIsWhatTheSystemSays(t *testing.T) {
	dir := coldFixture(t)
	s := evicted(t, dir, unwatched())
	for i, one := range s.Stats().Segments {
		f := s.catalog.Set().Order[i]
		if resident := vfs.Resident(f.Handle(), f.Limit()); one.Cold != (f.Memory() != nil && resident < 1) {
			t.Errorf("%s is cold: %v, and %v of it is in memory", one.File, one.Cold, resident)
		}
	}
	wantFilled(t, s, 0, 500, 300)
	wantFilled(t, s, 500, 505, 700_000)
	residency.MarkCold(s.catalog.Set().Order)
	for _, one := range s.Stats().Segments {
		if one.Cold {
			t.Errorf("%s is cold when all of it has been read", one.File)
		}
	}
	closeStore(t, s)
	o := byHand()
	o.Preload = true
	for _, one := range evicted(t, dir, o).Stats().Segments {
		if one.Cold {
			t.Errorf("%s is cold with Preload", one.File)
		}
	}
}

// If the system cannot lock memory, Open returns an error.
func TestLockMemoryThatIsNotToBeHad(t *testing.T) {
	disk := crashfs.New()
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true, FS: disk})
	s := open(t, "/store", o)
	put(t, s, "a", "value")
	closeStore(t, s)
	o.LockMemory = true
	if _, err := Open("/store", o); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Open: %v", err)
	}
	o.LockMemory = false
	wantValue(t, open(t, "/store", o), "a", "value")
}

// Reads that need no value do not fail if the value is damaged, cold or not.
func TestColdReadsOfADamagedValue(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 10, 20_000)
	closeStore(t, s)
	first := segmentFiles(t, dir)[0]
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(first, info.Size()-8<<10); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, unwatched())
	for _, cold := range []bool{false, true} {
		for _, f := range s.catalog.Set().Order {
			if f.Memory() == nil {
				return // a race build, which has whole records
			}
			f.Cold.Store(cold)
		}
		keys := 0
		for range s.Keys() {
			keys++
		}
		key, _ := numbered(0, 0)
		has, hasErr := s.Has(key)
		_, _, ttlErr := s.TTL(key)
		_, getErr := s.Get(key)
		if keys != 10 || !has || hasErr != nil || ttlErr != nil || !errors.Is(getErr, ErrCorrupt) {
			t.Errorf("cold %v: %d keys; Has %v, %v; TTL %v; Get %v", cold, keys, has, hasErr, ttlErr, getErr)
		}
	}
}
