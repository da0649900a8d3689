package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestManifestGolden(t *testing.T) {
	golden(t, "manifest", exampleManifest())
	m, err := ParseManifest(readGolden(t, "manifest"))
	want := &Manifest{Edit: 3, NextID: 8, LastSeq: 2, Watermark: 1, SealedSeq: 1, Clean: true,
		Segments: []SegmentInfo{{ID: 7, Salt: testSalt, Kind: Log, End: End{Offset: 128, Seq: 2}}}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestManifestIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.Uint64Range(0, MaxSeq).Draw(t, "last")
		given := rapid.Uint64Range(0, last)
		m := &Manifest{
			Edit: rapid.Uint64().Draw(t, "edit"), NextID: MaxNextID, LastSeq: last,
			Watermark: given.Draw(t, "watermark"), Clean: rapid.Bool().Draw(t, "clean"),
			SealedSeq: given.Draw(t, "sealed seq"),
		}
		sealed := rapid.IntRange(0, 9).Draw(t, "sealed")
		for i := range rapid.IntRange(sealed, 9).Draw(t, "segments") {
			kind := Log
			if i < sealed {
				kind = rapid.SampledFrom([]Kind{Log, Merged}).Draw(t, "kind")
			}
			m.Segments = append(m.Segments, SegmentInfo{
				ID: ID(i + 1), Salt: rapid.Uint64().Draw(t, "salt"), Sealed: m.Clean || i < sealed, Kind: kind,
				End: End{Alignment * rapid.Int64Range(8, MaxFileSize/Alignment).Draw(t, "end"), given.Draw(t, "seq")},
			})
		}
		if got, err := ParseManifest(m.Append(nil)); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v, %v, want %+v", got, err, m)
		}
	})
}

func TestManifestNeedsOneGoodBlock(t *testing.T) {
	data := exampleManifest()
	want, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2
	for bit := range 8 * half {
		at, mask := bit/8, byte(1)<<(bit%8)
		for _, copyAt := range []int{0, half} {
			data[copyAt+at] ^= mask
			if m, err := ParseManifest(data); err != nil || !reflect.DeepEqual(m, want) {
				t.Errorf("bit %d of one block: %v", bit, err)
			}
			data[copyAt+at] ^= mask
		}
		data[at] ^= mask
		data[half+(at+1)%half] ^= mask
		if _, err := ParseManifest(data); !errors.Is(err, ErrManifest) && !errors.Is(err, ErrVersion) {
			t.Errorf("bit %d of both blocks: %v", bit, err)
		}
		data[at] ^= mask
		data[half+(at+1)%half] ^= mask
	}
}

func TestManifestTruncated(t *testing.T) {
	data := exampleManifest()
	for n := range data {
		m, err := ParseManifest(data[:n])
		if whole := n >= len(data)/2; whole != (err == nil) || !whole && (!errors.Is(err, ErrManifest) || m != nil) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestManifestOfAnotherVersion(t *testing.T) {
	data := exampleManifest()
	data[blockVersionAt]++
	data[len(data)/2+blockVersionAt]++
	if _, err := ParseManifest(data); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// resealed is a block with a field changed and a checksum that fits.
func resealed(change func(block []byte)) []byte {
	data := exampleManifest()
	block := data[:len(data)/2]
	change(block)
	binary.LittleEndian.PutUint32(block[blockSumAt:], blockSum(block[:blockHeaderSize], block[blockHeaderSize:]))
	return block
}

func TestManifestRefusesWhatNoStoreWrites(t *testing.T) {
	info := blockHeaderSize + bodyHeaderSize
	for name, change := range map[string]func([]byte){
		"count":           func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyCountAt:], math.MaxUint64) },
		"count that fits": func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyCountAt:], 1<<61+1) },
		"size":            func(b []byte) { binary.LittleEndian.PutUint64(b[blockSizeAt:], math.MaxUint64) },
		"id 0":            func(b []byte) { b[info] = 0 },
		"id not below":    func(b []byte) { b[info] = 8 },
		"kind":            func(b []byte) { b[info+infoKindAt] = 3 },
		"end":             func(b []byte) { binary.LittleEndian.PutUint64(b[info+infoOffsetAt:], math.MaxUint64) },
		"end in header":   func(b []byte) { b[info+infoOffsetAt] = 8 },
		"end unaligned":   func(b []byte) { b[info+infoOffsetAt]++ },
		"no id left":      func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyNextIDAt:], 0) },
		"no id to come":   func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyNextIDAt:], MaxNextID+1) },
		"last number":     func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyLastSeqAt:], MaxSeq+1) },
		"watermark":       func(b []byte) { b[blockHeaderSize+bodyWatermarkAt] = 3 },
		"sealed number":   func(b []byte) { b[blockHeaderSize+bodySealedSeqAt] = 3 },
		"end's number":    func(b []byte) { b[info+infoSeqAt] = 3 },
		"clean":           func(b []byte) { b[blockHeaderSize+bodyCleanAt] = 2 },
		"sealed":          func(b []byte) { b[info+infoSealedAt] = 2 },
	} {
		block := resealed(change)
		if _, err := ParseManifest(bytes.Repeat(block, 2)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseManifest(resealed(func([]byte) {})); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
}

func TestManifestOfUniformBytes(t *testing.T) {
	for _, c := range []byte{0, 0xff} {
		if _, err := ParseManifest(bytes.Repeat([]byte{c}, 1<<10)); !errors.Is(err, ErrManifest) {
			t.Errorf("%#x: %v", c, err)
		}
	}
}

func TestManifestRefusesAnIDTwice(t *testing.T) {
	m := Manifest{NextID: 9}
	for range 2 {
		m.Segments = append(m.Segments, SegmentInfo{ID: 7, Kind: Log, Sealed: true, End: End{Offset: 64}})
	}
	if _, err := ParseManifest(m.Append(nil)); !errors.Is(err, ErrManifest) {
		t.Error(err)
	}
}

// The files that recovery looks at are the youngest, and pieces of the log.
func TestManifestRefusesWhatRecoveryDoesNotExpect(t *testing.T) {
	sealed := SegmentInfo{ID: 7, Kind: Log, Sealed: true, End: End{Offset: HeaderSize}}
	unsealed := SegmentInfo{ID: 8, Kind: Log}
	for name, test := range map[string]struct {
		segments []SegmentInfo
		refused  bool
	}{
		"sealed, unsealed, unsealed": {[]SegmentInfo{sealed, unsealed, {ID: 6, Kind: Log}}, false},
		"unsealed, sealed":           {[]SegmentInfo{unsealed, sealed}, true},
		"merged, unsealed":           {[]SegmentInfo{sealed, {ID: 8, Kind: Merged}}, true},
	} {
		m := Manifest{NextID: 9, Segments: test.segments}
		if _, err := ParseManifest(m.Append(nil)); (err != nil) != test.refused || err != nil && !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
