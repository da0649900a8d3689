//go:build !race

// Race builds read heap copies, in which nothing rots.

package mmapkv

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// TestSnapshotOfADamagedTail: a read of a snapshot that searches the records of the unsealed file, and meets
// one that has rotted, before they were sorted or since, returns ErrCorrupt.
func TestSnapshotOfADamagedTail(t *testing.T) {
	damageTail(t, false)
	damageTail(t, true)
}

func damageTail(t *testing.T, sorted bool) {
	t.Helper()
	dir := t.TempDir()
	o := byHand()
	o.SegmentSize = 1 << 20
	inject.Into(o, &inject.Seams{Manual: true})
	s := open(t, dir, o)
	fill(t, s, 0, 500, 50)
	n := snapshot(t, s)
	key, value := numbered(250, 50)
	set := s.catalog.Set()
	var offsets []int64
	for i := range 500 {
		k, _ := numbered(i, 50)
		offsets = append(offsets, set.Keys.Get(s.hasher.Fingerprint(k)).Offset())
	}
	path := filepath.Join(dir, segment.FileName(set.File(set.Keys.Get(s.hasher.Fingerprint(key))).ID))
	fill(t, s, 200, 300, 51)
	if sorted {
		wantThen(t, n, string(key), string(value))
	}
	for _, offset := range offsets {
		flip(t, path, offset+9)
	}
	for i := 200; i < 300; i++ {
		key, _ := numbered(i, 50)
		if got, err := n.Get(key); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q, %v", got, err)
		}
	}
	n.Close()
	_ = s.Close()
}
