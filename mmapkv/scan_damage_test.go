package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// damaged is a store of several files, closed, in which a test damages one place at a time.
type damaged struct {
	dir   string
	pairs []pair // from the lowest key up
}

func newDamaged(t *testing.T, o *Options) *damaged {
	d := &damaged{dir: t.TempDir()}
	s := open(t, d.dir, o)
	for i := range 150 {
		key, value := numbered(i, 60)
		put(t, s, string(key), "an older value")
		put(t, s, string(key), string(value))
		d.pairs = append(d.pairs, pair{key: string(key), value: string(value)})
	}
	closeStore(t, s)
	return d
}

// views are the ways to visit all pairs. Each calls show in its order, and returns the error.
var views = map[string]func(s *Store, show func(key, value []byte) error) error{
	"Scan": func(s *Store, show func(key, value []byte) error) error { return s.Scan(ScanOptions{}, show) },
	"Scan in reverse": func(s *Store, show func(key, value []byte) error) error {
		return s.Scan(ScanOptions{Reverse: true}, show)
	},
	"Scan of keys": func(s *Store, show func(key, value []byte) error) error {
		return s.Scan(ScanOptions{KeysOnly: true}, show)
	},
	"Pairs": func(s *Store, show func(key, value []byte) error) error {
		it, err := s.Iterator(ScanOptions{})
		if err != nil {
			return err
		}
		defer it.Close()
		for key, value := range it.Pairs() {
			if err := show(key, value); err != nil {
				return err
			}
		}
		return it.Err()
	},
	"View in reverse": func(s *Store, show func(key, value []byte) error) error {
		it, err := s.Iterator(ScanOptions{Reverse: true})
		if err != nil {
			return err
		}
		defer it.Close()
		for it.Next() {
			_ = it.View(func(value []byte) error { return show(it.Key(), value) }) // Err has what it returns
		}
		return it.Err()
	},
}

// check visits all pairs in every way, and returns how many ways ended with damage. Whatever is
// shown is right and in its place, and nothing is left out before the end.
func (d *damaged) check(t *testing.T, s *Store, what string) (corrupt int) {
	t.Helper()
	for name, view := range views {
		shown := 0
		err := view(s, func(key, value []byte) error {
			if shown == len(d.pairs) {
				return fmt.Errorf("%q is shown behind the last key", key)
			}
			want := d.pairs[shown]
			if name == "Scan in reverse" || name == "View in reverse" {
				want = d.pairs[len(d.pairs)-1-shown]
			}
			if shown++; string(key) != want.key || value != nil && string(value) != want.value {
				return fmt.Errorf("pair %d is %q, %q; want %q", shown, key, value, want.key)
			}
			return nil
		})
		switch {
		case errors.Is(err, ErrCorrupt):
			corrupt++
		case err != nil || shown != len(d.pairs):
			t.Errorf("%s: %s: %d of %d pairs: %v", what, name, shown, len(d.pairs), err)
		}
	}
	return corrupt
}

// TestScanOfADamagedStore flips bits of segments and hints, before the store is opened and while it
// is open, at one place or at several. A scan shows what was written, or ends with ErrCorrupt.
func TestScanOfADamagedStore(t *testing.T) {
	d := newDamaged(t, byHand())
	rng := rand.New(rand.NewPCG(1, 2))
	refused, corrupt, rounds := 0, 0, 300
	if testing.Short() {
		rounds = 60
	}
	for n := range rounds {
		dir, whileOpen, places := copyDir(t, d.dir), n%2 > 0, 1+n%3
		what := fmt.Sprintf("while open: %v", whileOpen)
		flip := func() {
			for range places {
				path, at := anyByte(t, rng, dir)
				flipOnDisk(t, path, at)
				what += fmt.Sprintf(", %s at %d", filepath.Base(path), at)
			}
		}
		if !whileOpen {
			flip()
		}
		s, err := Open(dir, byHand())
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Errorf("%s: Open: %v", what, err)
			}
			refused++
			continue
		}
		if whileOpen {
			flip()
		}
		left := d
		if len(s.Stats().Recovery.Damages) > 0 {
			left = d.left(t, s)
		}
		corrupt += left.check(t, s, what)
		closeStore(t, s)
		if t.Failed() {
			return
		}
	}
	if corrupt < rounds/4 || refused > rounds/4 {
		t.Errorf("of %d stores %d do not open, and %d scans see damage", rounds, refused, corrupt)
	}
}

// left is what reads find of a store in which Open has reported damage: some keys may be absent, or
// have an older value. What reads call damaged must not come.
func (d *damaged) left(t *testing.T, s *Store) *damaged {
	t.Helper()
	found := &damaged{dir: d.dir}
	for _, p := range d.pairs {
		value, err := s.Get([]byte(p.key))
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err == nil:
			p.value = string(value)
		case !errors.Is(err, ErrCorrupt):
			t.Fatal(err)
		}
		found.pairs = append(found.pairs, p)
	}
	return found
}

// anyByte draws a byte of a store's segments and hints.
func anyByte(t *testing.T, rng *rand.Rand, dir string) (path string, at int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.[sh]*"))
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}
	path = names[rng.IntN(len(names))]
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		t.Fatal(path, err)
	}
	return path, rng.Int64N(info.Size())
}

// find opens the store, and returns where a key's record lies.
func (d *damaged) find(t *testing.T, key []byte) (file string, offset, size int64) {
	t.Helper()
	s := open(t, d.dir, byHand())
	defer closeStore(t, s)
	set := s.catalog.Set()
	loc := set.Keys.Get(s.hasher.Fingerprint(key))
	size, known := loc.Size()
	if !known {
		t.Fatalf("the index does not know the size of %q", key)
	}
	return segment.FileName(set.File(loc).ID), loc.Offset(), size
}

// TestDamageEndsAnIterator: an Iterator that has met damage goes nowhere, reports it once, and
// says so for ever. (redb 4.3: an iterator that had failed went on and skipped data.)
func TestDamageEndsAnIterator(t *testing.T) {
	d := newDamaged(t, byHand())
	var mu sync.Mutex // guards told
	var told []CorruptError
	o := byHand()
	o.Events.CorruptionFound = func(e CorruptError) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e)
	}
	key := []byte(d.pairs[70].key)
	name, offset, size := d.find(t, key)
	flipOnDisk(t, filepath.Join(d.dir, name), offset+size-16) // in the value
	s := open(t, d.dir, o)
	it := iterator(t, s, ScanOptions{})
	if !it.SeekGE(key) || it.ValueSize() != int64(len(d.pairs[70].value)) || it.Err() != nil {
		t.Fatalf("the key and the size are whole: %v", it.Err())
	}
	_, err := it.Value()
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Offset != offset || corrupt.File != name {
		t.Fatalf("Value: %v; want damage of the record at %d", err, offset)
	}
	if !bytes.Equal(it.Key(), key) {
		t.Errorf("the key is gone: %q", it.Key())
	}
	for name, move := range map[string]func() bool{"Next": it.Next, "Prev": it.Prev, "First": it.First, "Last": it.Last, "SeekGE": func() bool { return it.SeekGE(nil) }} {
		if move() || it.Valid() || it.Err() != err {
			t.Errorf("%s goes on: %v", name, it.Err())
		}
	}
	if again := it.View(nil); again != err {
		t.Errorf("View: %v", again)
	}
	waitFor(t, "the event", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) > 0
	})
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || told[0].Offset != offset {
		t.Errorf("told of %v", told)
	}
	// The callback's own error is not the Iterator's.
	it = iterator(t, s, ScanOptions{})
	it.Next()
	if err := it.View(func([]byte) error { return ErrCorrupt }); err != ErrCorrupt || !it.Next() || it.Err() != nil {
		t.Errorf("a callback's error ends the Iterator: %v, %v", err, it.Err())
	}
}

// TestSkipReadChecksumInScans: the header and the key are checked in any case.
func TestSkipReadChecksumInScans(t *testing.T) {
	d := newDamaged(t, byHand())
	o := byHand()
	o.SkipReadChecksum = true
	name, offset, size := d.find(t, []byte(d.pairs[70].key))
	path := filepath.Join(d.dir, name)
	flipOnDisk(t, path, offset+size-16)
	s := open(t, d.dir, o)
	pairs := 0
	if err := s.Scan(ScanOptions{}, func(_, _ []byte) error { pairs++; return nil }); err != nil || pairs != len(d.pairs) {
		t.Errorf("with a damaged value %d pairs: %v", pairs, err)
	}
	closeStore(t, s)
	flipOnDisk(t, path, offset+segment.RecordHeaderSize+2) // in the key
	s = open(t, d.dir, o)
	if err := s.Scan(ScanOptions{}, func(_, _ []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a damaged key: %v", err)
	}
}
