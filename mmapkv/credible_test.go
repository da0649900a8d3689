package mmapkv

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/segment"
)

// A record can have valid checksums and yet say about the log what no store writes.
// Recovery must not rely on it: later writes must be on disk when the store says so, and
// be there after a reopen. Verify must not miss records that were never written.
func TestRecoveryBelievesNoRecordThatNoStoreWrites(t *testing.T) {
	dir := t.TempDir()
	o := byHand()
	o.Sync = fsync.Never
	s := open(t, dir, o)
	put(t, s, "first", "value")
	s.log.AsLeader(func() {
		if err := s.log.Rotate(100, false); err != nil {
			t.Error(err)
		}
	})
	put(t, s, "forged", "value")
	put(t, s, "last", "value")
	f := s.log.Tail.File
	left := killed(t, s, dir)

	honest := segment.Placement{Salt: f.Salt, Offset: f.DataStart, Seq: 2, Watermark: 1, HasWatermark: true,
		Previous: &segment.End{Offset: segment.HeaderSize, Seq: 1}}
	for name, forge := range map[string]func(p *segment.Placement){
		"the last number":         func(p *segment.Placement) { p.Seq = math.MaxUint64 },
		"the highest number":      func(p *segment.Placement) { p.Seq = segment.MaxSeq },
		"a watermark behind it":   func(p *segment.Placement) { p.Watermark = 1 << 60 },
		"a negative end":          func(p *segment.Placement) { p.Previous = &segment.End{Offset: math.MinInt64, Seq: 1} },
		"an end in no file":       func(p *segment.Placement) { p.Previous = &segment.End{Offset: 1 << 40, Seq: 1} },
		"an unaligned end":        func(p *segment.Placement) { p.Previous = &segment.End{Offset: 113, Seq: 1} },
		"an end behind its start": func(p *segment.Placement) { p.Previous = &segment.End{Offset: 1 << 10, Seq: 2} },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, left)
			place := honest
			forge(&place)
			var draft segment.Draft
			draft.Put([]byte("forged"), []byte("value"), 0)
			forged, err := os.OpenFile(filepath.Join(dir, segment.FileName(f.ID)), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer forged.Close()
			if _, err := forged.WriteAt(draft.Finish(place), place.Offset); err != nil {
				t.Fatal(err)
			}
			wantSound(t, verified(t, dir))
			for range 2 {
				s := open(t, dir, o)
				wantValue(t, s, "first", "value")
				put(t, s, "new", "value")
				if durable, given := s.syncer.Durable(), s.catalog.LastGiven.Load(); durable >= given {
					t.Errorf("all up to %d is said to be on disk, right after %d was written", durable, given)
				}
				closeStore(t, s)
				s = open(t, dir, o)
				wantValue(t, s, "new", "value")
				closeStore(t, s)
			}
		})
	}
}

// A manifest can have valid checksums and numbers that are almost used up. The store
// stops writing before it produces a log that cannot be read.
func TestNumbersThatAreUsedUp(t *testing.T) {
	for name, change := range map[string]func(m *segment.Manifest){
		"sequence numbers": func(m *segment.Manifest) { m.LastSeq = segment.MaxSeq },
		"file numbers":     func(m *segment.Manifest) { m.NextID = segment.MaxNextID },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, byHand())
			put(t, s, "old", "value")
			closeStore(t, s)
			m := manifestOf(t, dir)
			change(m)
			replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
			for i := range 3 {
				s := open(t, dir, byHand())
				wantValue(t, s, "old", "value")
				key := fmt.Appendf(nil, "new %d", i)
				written := s.Put(key, make([]byte, minSegmentSize)) == nil
				left := killed(t, s, dir)
				s.Close()
				for _, dir := range []string{left, dir} {
					s := open(t, dir, byHand())
					if has, err := s.Has(key); err != nil || has != written {
						t.Errorf("written: %v, there: %v, %v", written, has, err)
					}
					closeStore(t, s)
				}
			}
		})
	}
}
