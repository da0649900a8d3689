//go:build !race

// Race builds have files in the heap instead of mapping them.

package mmapkv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv/internal/load"
	"github.com/mmapkv/mmapkv/segment"
)

// openWithin opens a directory read-only. It fails if that allocates much more than the
// files hold.
func openWithin(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	size, _ := diskUse(t, dir)
	o.ReadOnly = true
	var s *Store
	if allocated := int64(allocatedBy(func() { s = open(t, dir, &o) })); allocated > 2*size+64<<20 {
		t.Errorf("to open %d bytes %d were allocated", size, allocated)
	}
	return s
}

// A manifest lists many unsealed files of one record each.
func TestManyUnsealedFilesTakeLittleMemory(t *testing.T) {
	dir := t.TempDir()
	const files = 200
	m := segment.Manifest{Edit: 1, NextID: files + 1}
	for i := range files {
		id, salt := segment.ID(i+1), uint64(i)
		h := segment.Header{ID: id, Salt: salt, Kind: segment.Log}
		var draft segment.Draft
		draft.Put(fmt.Append(nil, "key", i), []byte("value"), 0)
		content := append(h.Append(nil), draft.Finish(segment.Placement{Salt: salt, Offset: h.Size(), Seq: uint64(i + 1)})...)
		replaceBytes(t, dir, segment.FileName(id), content)
		m.Segments = append(m.Segments, segment.SegmentInfo{ID: id, Salt: salt, Kind: segment.Log})
	}
	replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
	if s := openWithin(t, dir, *tiny()); s.Len() == 0 {
		t.Error("nothing was recovered")
	}
}

// cutStore makes a store of ten keys. Its manifest says that its only file is much longer
// than it is.
func cutStore(t *testing.T, end int64) (dir string, info segment.SegmentInfo) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, &Options{SegmentSize: end})
	fill(t, s, 0, 10, 100)
	closeStore(t, s)
	m := manifestOf(t, dir)
	m.Segments[0].End.Offset, m.Segments[0].Sealed = end, true
	replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
	return dir, m.Segments[0]
}

// A hint says that it has more keys than its segment has room for.
func TestHintOfTooManyKeysTakesLittleMemory(t *testing.T) {
	const end = 64 << 20
	dir, info := cutStore(t, end)
	content := bytesOf(t, dir, segment.HintName(info.ID))
	binary.LittleEndian.PutUint64(content[48:], 1<<63)
	replaceBytes(t, dir, segment.HintName(info.ID), content)
	if err := os.Truncate(filepath.Join(dir, segment.HintName(info.ID)), segment.MaxHintSize(end)); err != nil {
		t.Fatal(err)
	}
	s := openWithin(t, dir, Options{SegmentSize: end})
	if err := s.Ready(context.Background()); !errors.Is(err, ErrCorrupt) { // the file was made longer
		t.Errorf("Ready: %v", err)
	}
	if bytes, most := s.Stats().IndexBytes, int64(end/segment.RecordHeaderSize*32); bytes > most {
		t.Errorf("an index of %d bytes for what can need %d", bytes, most)
	}
}

// A hint says that every other word of its segment is unreadable.
func TestHintOfManyDamagesTakesLittleMemory(t *testing.T) {
	const end = 16 << 20
	dir, info := cutStore(t, end)
	if err := os.Truncate(filepath.Join(dir, segment.FileName(info.ID)), end); err != nil {
		t.Fatal(err)
	}
	b := segment.NewHintBuilder()
	for at := int64(segment.HeaderSize); at+8 <= end; at += 16 {
		b.AddDamage(segment.Damage{Offset: at, Length: 8})
	}
	replaceBytes(t, dir, segment.HintName(info.ID), b.Encode(info.ID, info.Salt, info.End, 0))
	s := openWithin(t, dir, Options{SegmentSize: end})
	if err := s.Ready(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Ready: %v", err)
	}
	damages := s.Stats().Recovery.Damages
	if len(damages) != load.MaxRanges+1 || damages[load.MaxRanges].Offset != segment.HeaderSize+16*load.MaxRanges {
		t.Errorf("%d damages are told of, the last is %v", len(damages), damages[len(damages)-1])
	}
}

// Nothing is overwritten or deleted, and nothing expires. So there is no garbage, and no
// writer waits for compaction, however low the bound on space is.
func TestWithoutGarbageNobodyWaits(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 256 << 10, Sync: fsync.Never, Compaction: Compaction{MaxSpaceRatio: 1.05}})
	var key [4]byte
	for i := range 200_000 {
		binary.BigEndian.PutUint32(key[:], uint32(i))
		if err := s.PutWithTTL(key[:], nil, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if stats := s.Stats(); stats.WriteStall > 0 || stats.DeadBytes > stats.LiveBytes/100 {
		t.Errorf("of %d live bytes %d are dead, and writers waited for %v", stats.LiveBytes, stats.DeadBytes, stats.WriteStall)
	}
}

// The whole hint is a hole.
func TestHintThatIsAHoleTakesNoMemory(t *testing.T) {
	const end = 128 << 20
	dir, info := cutStore(t, end)
	hint := filepath.Join(dir, segment.HintName(info.ID))
	for _, size := range []int64{0, segment.MaxHintSize(end)} {
		if err := os.Truncate(hint, size); err != nil {
			t.Fatal(err)
		}
	}
	allocated := allocatedBy(func() { open(t, dir, &Options{SegmentSize: end, ReadOnly: true}) })
	if allocated > 64<<20 {
		t.Errorf("%d bytes were allocated", allocated)
	}
}
