package mmapkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
	"github.com/mmapkv/mmapkv/segment"
)

// TestScanBelievesNoTable: a table whose checksums are right and whose entries are not. What an
// entry says of a record is compared with the record.
func TestScanBelievesNoTable(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "an older value")
	put(t, s, "key", "value")
	put(t, s, "yek", "another value")
	if err := s.Delete([]byte("yek")); err != nil {
		t.Fatal(err)
	}
	m, err := s.instant()
	if err != nil {
		t.Fatal(err)
	}
	defer m.end()
	c := m.state.Cursor()
	if !c.First() {
		t.Fatal(c.Err())
	}
	entry := c.Entry()
	older := entry.Offset - segment.RecordSize(3, int64(len("an older value")), 0)
	behind := entry.Offset + entry.Size
	deleted := behind + segment.RecordSize(3, int64(len("another value")), 0)
	for name, lie := range map[string]func(e *order.Entry){
		"":                     func(e *order.Entry) {},
		"another key's record": func(e *order.Entry) { e.Offset, e.Size, e.Seq = behind, segment.RecordSize(3, 13, 0), e.Seq+1 },
		"an older record":      func(e *order.Entry) { e.Offset, e.Size = older, entry.Offset-older },
		"another number":       func(e *order.Entry) { e.Seq++ },
		"another size":         func(e *order.Entry) { e.Size += segment.Alignment },
		"a tombstone": func(e *order.Entry) {
			e.Key, e.Offset, e.Size, e.Seq = []byte("yek"), deleted, segment.RecordSize(3, 0, 0), e.Seq+2
		},
		"no record":             func(e *order.Entry) { e.Offset += segment.Alignment },
		"behind the file's end": func(e *order.Entry) { e.Offset = e.File.Limit() },
		"before the file":       func(e *order.Entry) { e.Offset = -segment.Alignment },
	} {
		one := entry
		one.Key = clone(entry.Key)
		lie(&one)
		p := stretchOf(m, &ScanOptions{})
		p.batch = append(p.buffer[:0], one)
		sc := scanning{stretch: p, fn: func(key, value []byte) error {
			if string(key) != "key" || string(value) != "value" {
				return fmt.Errorf("%q with %q is shown", key, value)
			}
			return nil
		}}
		if err := sc.showPairs(); errors.Is(err, ErrCorrupt) != (name != "") || name == "" && err != nil {
			t.Errorf("the table means %s: %v", name, err)
		}
		sc.drop()
	}
}

// TestScanOfColdFiles: records that are not in memory are read by system calls.
func TestScanOfColdFiles(t *testing.T) {
	s := evicted(t, coldFixture(t), unwatched())
	for _, cold := range []bool{true, false} {
		for _, f := range s.catalog.Set().Order {
			f.Cold.Store(cold)
		}
		for _, reverse := range []bool{false, true} {
			shown := 0
			err := s.Scan(ScanOptions{Reverse: reverse}, func(key, value []byte) error {
				n := shown
				if reverse {
					n = 504 - shown
				}
				size := 300
				if n >= 500 {
					size = 700_000
				}
				wantKey, want := numbered(n, size)
				shown++
				return errors.Join(unchanged(key, wantKey), unchanged(value, want))
			})
			if err != nil || shown != 505 {
				t.Errorf("cold %v, reverse %v: %d pairs: %.200v", cold, reverse, shown, err)
			}
		}
		it := iterator(t, s, ScanOptions{KeysOnly: true, From: []byte("key-0000499")})
		for range 6 {
			if !it.Next() {
				t.Fatal(it.Err())
			}
		}
		if n := it.ValueSize(); n != 700_000 {
			t.Errorf("cold %v: a value of %d bytes", cold, n)
		}
	}
}

// A scan works without mappings, and on a store that is open read-only and was not closed before.
func TestScanOfUnusualStores(t *testing.T) {
	for name, limit := range map[string]int{"without mappings": 0, "with few": 2, "with all": 1 << 20} {
		restore := vfs.SetMappingLimit(limit)
		dir := t.TempDir()
		s := open(t, dir, byHand())
		d := &damaged{dir: dir}
		for i := range 150 {
			key, value := numbered(i, 60)
			put(t, s, string(key), string(value))
			d.pairs = append(d.pairs, pair{key: string(key), value: string(value)})
		}
		if n := d.check(t, s, name); n > 0 {
			t.Errorf("%s: %d scans see damage", name, n)
		}
		o := byHand()
		o.ReadOnly = true
		reader := open(t, killed(t, s, dir), o)
		if n := d.check(t, reader, name+", read-only"); n > 0 {
			t.Errorf("%s: %d read-only scans see damage", name, n)
		}
		closeStore(t, reader)
		closeStore(t, s)
		restore()
	}
}

// A damaged hint costs time, not keys, also while the store is open.
func TestScanOfAStoreWithoutHints(t *testing.T) {
	d := newDamaged(t, byHand())
	names, err := filepath.Glob(filepath.Join(d.dir, "*.hint"))
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	s := open(t, d.dir, byHand())
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.check(t, s, "without hints"); n > 0 {
		t.Errorf("%d scans see damage", n)
	}
}
