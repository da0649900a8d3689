package mmapkv

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// TestFindInManyTables asks a State of many tables, each of several thousand keys in no order, for each
// key and for keys that are absent, while the filters of the tables are being made and when they are
// done. Then a Find of an absent key reads hardly any table.
func TestFindInManyTables(t *testing.T) {
	const keys = 16 << 10
	s := open(t, t.TempDir(), &Options{SegmentSize: 128 << 10, Sync: fsync.Never, Compaction: Compaction{Disabled: true}})
	model := map[string]string{}
	write := func(i, size int) {
		key, value := numbered(int(uint32(i)*2654435761%keys)*2, size)
		put(t, s, string(key), string(value))
		model[string(key)] = string(value)
	}
	for i := range keys {
		write(i, 16)
	}
	m := capture(t, s, model)
	defer m.state.Release()
	for i := range keys / 2 {
		if i%3 == 0 {
			key, _ := numbered(int(uint32(i)*2654435761%keys)*2, 0)
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
		} else {
			write(i, 24)
		}
	}
	tables := len(slices.DeleteFunc(slices.Clone(m.state.Set().Order), func(f *catalog.File) bool { return f.Active != nil }))
	if tables < 5 {
		t.Fatalf("only %d tables", tables)
	}
	before := s.Stats().Order.Bytes
	for round := range 3 {
		for i := range 2 * keys {
			if round < 2 && (i+round)%7 > 0 {
				continue
			}
			key, _ := numbered(i, 0)
			m.wantFound(t, string(key))
		}
	}
	stats := s.Stats().Order
	if took := stats.Bytes - before; took < keys*10/8*3/4 || took > 64*keys {
		t.Errorf("filters of %d keys take %d bytes: %+v", keys, took, stats)
	}
}

// A damaged hint costs time, and never a key: before it is opened as a table, and after the filters were
// made of it. Whatever is damaged, the tables are made anew.
func TestFindInADamagedTable(t *testing.T) {
	for what, rot := range rots {
		for _, viewed := range []bool{false, true} {
			s, dir, model := tabled(t, byHand())
			if viewed {
				makeView(t, s)
			}
			m := capture(t, s, model)
			find := func() {
				t.Helper()
				for i, key := range m.keys {
					m.wantFound(t, key)
					m.wantFound(t, fmt.Sprint("absent ", i))
				}
			}
			for range 2 {
				for _, path := range sealedHints(s, dir) {
					if what != "removed" || fileExists(path) {
						rot(t, path)
					}
				}
				find()
				find()
			}
			m.state.Release()
			closeStore(t, s)
		}
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
