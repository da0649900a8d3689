package mmapkv

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// manySegments makes a disk with a cleanly closed store of count sealed segments,
// each with one record.
func manySegments(t *testing.T, count int) *crashfs.Disk {
	t.Helper()
	disk := crashfs.New()
	if err := disk.Mkdir("/store"); err != nil {
		t.Fatal(err)
	}
	last := uint64(count)
	m := segment.Manifest{Edit: 1, NextID: segment.ID(count + 1), LastSeq: last, Watermark: last, SealedSeq: last, Clean: true}
	write := func(name string, content []byte) {
		if err := disk.SetBytes("/store/"+name, content); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		h := segment.Header{ID: segment.ID(i + 1), Salt: uint64(i), Kind: segment.Log}
		var draft segment.Draft
		draft.Put(fmt.Append(nil, "old", i), []byte("value"), 0)
		content := append(h.Append(nil), draft.Finish(segment.Placement{Salt: h.Salt, Offset: h.Size(), Seq: uint64(i + 1)})...)
		write(segment.FileName(h.ID), content)
		hint := segment.NewHintBuilder()
		end := segment.End{Offset: int64(len(content)), Seq: uint64(i + 1)}
		hint.Add(segment.Entry{Offset: h.Size(), Size: end.Offset - h.Size(), Seq: end.Seq, Key: fmt.Append(nil, "old", i)})
		write(segment.HintName(h.ID), hint.Encode(h.ID, h.Salt, end, end.Seq))
		m.Segments = append(m.Segments, segment.SegmentInfo{ID: h.ID, Salt: h.Salt, Kind: h.Kind, Sealed: true,
			End: end})
	}
	write(segment.ManifestName, m.Append(nil))
	return disk
}

// writtenBytes returns how much the calls write to the manifest and to all files.
func writtenBytes(calls []errorfs.Op) (manifest, all int64, copies int) {
	for _, op := range calls {
		isManifest := strings.HasPrefix(filepath.Base(op.Name), segment.ManifestName)
		switch op.Kind {
		case errorfs.Write:
			all += op.Length
			if isManifest {
				manifest += op.Length
			}
		case errorfs.Rename:
			if isManifest {
				copies++
			}
		}
	}
	return manifest, all, copies
}

// However many segments there are, a Put of a kilobyte writes little to the
// manifest, even with its share of the full copies.
func TestPutsWriteLittleToTheManifest(t *testing.T) {
	const mostBytes = 600 // for each put
	counts := []int{100, 1000, 10_000}
	if testing.Short() {
		counts = counts[:2]
	}
	for _, count := range counts {
		inner := manySegments(t, count)
		disk := errorfs.New(inner)
		o := &Options{SegmentSize: minSegmentSize, Sync: fsync.Never}
		o.Compaction.Disabled = true
		inject.Into(o, &inject.Seams{FS: disk, Manual: true})
		s, err := Open("/store", o)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "first", "") // also writes a full copy
		start := disk.Count()
		puts, copies := 0, 0
		var manifest, all int64
		for puts < 200 || copies == 0 && count < 10_000 {
			for range 100 {
				key, value := numbered(puts, 1000)
				if err := s.Put(key, value); err != nil {
					t.Fatal(err)
				}
				for _, step := range []func() (bool, error){s.log.StepSeal, s.log.StepPrepare} {
					if _, err := step(); err != nil {
						t.Fatal(err)
					}
				}
				puts++
			}
			manifest, all, copies = writtenBytes(disk.Calls()[start:])
		}
		if copies == 0 {
			// Add the edits' share of the full copy to come.
			places, half := s.catalog.Manifest.Edits.Places(), int64(len(inner.Bytes("/store/"+segment.ManifestName))/2)
			room := half - places[0] + manifest/2
			manifest += manifest * half / room
		}
		each := manifest / int64(puts)
		t.Logf("%d segments: %d puts write %d bytes each to the manifest, in %d full copies and else in edits; and %d to all files",
			count, puts, each, copies, all/int64(puts))
		if each > mostBytes {
			t.Errorf("%d segments: a put writes %d bytes to the manifest", count, each)
		}
		wantFilled(t, s, 0, puts, 1000)
		closeStore(t, s)
		if m, err := segment.ParseManifest(inner.Bytes("/store/" + segment.ManifestName)); err != nil || !m.Clean || len(m.Segments) < count {
			t.Errorf("%v", err)
		}
	}
}
