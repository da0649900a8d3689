package mmapkv

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// TestKeptSlicesArePoisoned checks that, with the tag invariants, a slice that was shown to a
// callback has other bytes after the callback has returned, failed or panicked. Without the tag the
// slice is the record itself, which stays as long as the file does.
func TestKeptSlicesArePoisoned(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "value")
	var kept [][]byte // from one call, with the original content
	show := func(slices ...[]byte) {
		for _, b := range slices {
			if !bytes.Equal(b, []byte("key")) && !bytes.Equal(b, []byte("value")) {
				t.Errorf("shown: %q", b)
			}
			if cap(b) != len(b) {
				t.Errorf("a slice of %q could be extended to %d bytes", b, cap(b))
			}
			kept = append(kept, b)
		}
	}
	calls := map[string]struct {
		slices int
		call   func(end func() error) error
	}{
		"View": {1, func(end func() error) error {
			return s.View([]byte("key"), func(value []byte) error { show(value); return end() })
		}},
		"GetMany": {1, func(end func() error) error {
			return s.GetMany([][]byte{[]byte("key")}, func(_ int, value []byte, err error) error { show(value); return errors.Join(err, end()) })
		}},
		"Range": {2, func(end func() error) error {
			return s.Range(func(key, value []byte) error { show(key, value); return end() })
		}},
		"Scan": {2, func(end func() error) error {
			return s.Scan(ScanOptions{}, func(key, value []byte) error { show(key, value); return end() })
		}},
		"Scan of keys": {1, func(end func() error) error {
			return s.Scan(ScanOptions{KeysOnly: true}, func(key, _ []byte) error { show(key); return end() })
		}},
		"Iterator.View": {1, func(end func() error) error {
			it := iterator(t, s, ScanOptions{})
			it.Next()
			return it.View(func(value []byte) error { show(value); return end() })
		}},
	}
	ends := map[string]func() error{
		"returns": func() error { return nil },
		"fails":   func() error { return errors.New("enough") },
		"panics":  func() error { panic("enough") },
	}
	for name, c := range calls {
		for how, end := range ends {
			kept = nil
			if got := complaint(func() {
				if err := c.call(end); (err != nil) != (how == "fails") {
					t.Errorf("%s whose callback %s: %v", name, how, err)
				}
			}); (got != "") != (how == "panics") {
				t.Errorf("%s whose callback %s panics with %q", name, how, got)
			}
			if len(kept) != c.slices {
				t.Fatalf("%s shows %d slices, want %d", name, len(kept), c.slices)
			}
			for _, b := range kept {
				if poisoned := bytes.Count(b, []byte{0xdb}) == len(b); poisoned != invariant.Enabled {
					t.Errorf("%s whose callback %s: the slice that was kept holds %q", name, how, b)
				}
			}
		}
	}
}

// TestWhatAnIteratorReturnedIsPoisoned checks the same of what Key and Value return, after a move.
func TestWhatAnIteratorReturnedIsPoisoned(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "a", "value")
	put(t, s, "b", "value")
	for name, end := range map[string]func(it *Iterator){
		"Next": func(it *Iterator) { it.Next() }, "Prev": func(it *Iterator) { it.Prev() },
		"SeekGE": func(it *Iterator) { it.SeekGE(it.Key()) }, "Close": func(it *Iterator) { it.Close() },
	} {
		it := iterator(t, s, ScanOptions{})
		it.Next()
		key := it.Key()
		value, err := it.Value()
		if string(key) != "a" || string(value) != "value" || err != nil || cap(key) != 1 || cap(value) != 5 {
			t.Errorf("%q, %q, %v", key, value, err)
		}
		end(it)
		for _, b := range [][]byte{key, value} {
			if poisoned := bytes.Count(b, []byte{0xdb}) == len(b); invariant.Enabled && !poisoned {
				t.Errorf("after %s what was kept holds %q", name, b)
			}
		}
	}
}
