package mmapkv

import (
	"errors"
	"io"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// TestWatermarkIsTold reads the watermarks in the log, as recovery does. They come first
// in each file, again when more is on disk, and often enough to survive a lost block.
func TestWatermarkIsTold(t *testing.T) {
	s := open(t, t.TempDir(), &Options{Sync: fsync.Never})
	var synced []uint64 // by record: the last number that was on disk before it
	_, value := numbered(0, 100)
	for i := range 500 {
		if i%120 == 50 {
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		synced = append(synced, s.syncer.Durable())
		put(t, s, "key", string(value))
	}
	f := s.log.Tail.File
	walker := segment.NewWalker(f.Handle(), f.Salt, f.DataStart, f.Limit())
	var r segment.Record
	var known uint64
	var told, toldAt int64
	for {
		err := walker.Next(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at := walker.Offset() - r.Size
		if r.Flags&segment.HasWatermark != 0 {
			known, toldAt = r.Watermark, at
			told++
		}
		if want := synced[r.Seq-1]; known != want {
			t.Fatalf("at record %d the log tells that %d are on disk; %d are", r.Seq, known, want)
		}
		if told == 0 || at-toldAt > wal.WatermarkEvery+r.Size {
			t.Fatalf("record %d at %d; the watermark was told at %d", r.Seq, at, toldAt)
		}
	}
	if r.Seq != 500 || told > 40 {
		t.Errorf("%d records, of which %d tell the watermark", r.Seq, told)
	}
}
