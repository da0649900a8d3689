package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestManifestGolden(t *testing.T) {
	golden(t, "manifest", exampleManifest())
	m, state, err := InspectManifest(readGolden(t, "manifest"))
	want := &Manifest{Salt: 0xfedcba9876543210, Edit: 3, NextID: 8, LastSeq: 2, Watermark: 1, SealedSeq: 1, Clean: true,
		Segments: []SegmentInfo{{ID: 7, Salt: testSalt, Kind: Log, End: End{Offset: 128, Seq: 2}}}}
	if err != nil || !reflect.DeepEqual(m, want) || state.Edits != 1 || state.Once || state.Damages != nil {
		t.Errorf("%+v, %+v, %v", m, state, err)
	}
}

// A manifest of the first version is read, and written in the current version.
func TestManifestOfTheFirstVersion(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "v1", "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Manifest{Edit: 3, NextID: 8, LastSeq: 2, Watermark: 1, SealedSeq: 1, Clean: true,
		Segments: []SegmentInfo{{ID: 7, Salt: testSalt, Kind: Log, End: End{Offset: 128, Seq: 2}}}}
	half := len(data) / 2
	for bit := range 8 * half {
		for _, copyAt := range []int{0, half} {
			data[copyAt+bit/8] ^= 1 << (bit % 8)
			m, state, err := InspectManifest(data)
			if err != nil || !reflect.DeepEqual(m, want) || len(state.Damages) != 1 {
				t.Errorf("bit %d of one block: %+v, %v", bit, state, err)
			}
			data[copyAt+bit/8] ^= 1 << (bit % 8)
		}
	}
	for n := range data {
		if m, err := ParseManifest(data[:n]); err == nil && !reflect.DeepEqual(m, want) {
			t.Errorf("%d bytes: %+v", n, m)
		}
	}
	if again, err := ParseManifest(want.Append(nil)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("rewritten: %+v, %v", again, err)
	}
}

// drawManifest draws a manifest that a store could write.
func drawManifest(t *rapid.T) *Manifest {
	last := rapid.Uint64Range(0, MaxSeq).Draw(t, "last")
	given := rapid.Uint64Range(0, last)
	m := &Manifest{
		Salt: rapid.Uint64().Draw(t, "salt"),
		Edit: rapid.Uint64().Draw(t, "edit"), NextID: MaxNextID, LastSeq: last,
		Watermark: given.Draw(t, "watermark"), Clean: rapid.Bool().Draw(t, "clean"),
		SealedSeq: given.Draw(t, "sealed seq"),
	}
	sealed := rapid.IntRange(0, 9).Draw(t, "sealed")
	ids := rapid.Permutation([]ID{1, 2, 3, 4, 5, 6, 7, 8, 9}).Draw(t, "ids")
	for i := range rapid.IntRange(sealed, 9).Draw(t, "segments") {
		kind := Log
		if i < sealed {
			kind = rapid.SampledFrom([]Kind{Log, Merged}).Draw(t, "kind")
		}
		m.Segments = append(m.Segments, SegmentInfo{
			ID: ids[i], Salt: rapid.Uint64().Draw(t, "segment's salt"), Sealed: m.Clean || i < sealed, Kind: kind,
			End: End{Alignment * rapid.Int64Range(8, MaxFileSize/Alignment).Draw(t, "end"), given.Draw(t, "seq")},
		})
	}
	return m
}

func TestManifestIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawManifest(t)
		if got, err := ParseManifest(m.Append(nil)); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v, %v, want %+v", got, err, m)
		}
	})
}

func TestManifestOfAnotherVersion(t *testing.T) {
	data := exampleManifest()
	data[blockVersionAt]++
	data[len(data)/2+blockVersionAt]++
	if _, err := ParseManifest(data); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// resealed is a manifest with a changed field in its copy and a valid checksum.
func resealed(change func(block []byte)) []byte {
	m := exampleCopy()
	m.Clean, m.Segments[0].End = true, End{Offset: 128, Seq: 1}
	half := m.Append(nil)[:halfUnit]
	block := half[:m.blockSize()]
	change(block)
	binary.LittleEndian.PutUint32(block[blockSumAt:], blockSum(block[:blockHeaderSize], block[blockHeaderSize:]))
	return bytes.Repeat(half, 2)
}

func TestManifestRefusesWhatNoStoreWrites(t *testing.T) {
	info := blockHeaderSize + bodyHeaderSize
	for name, change := range map[string]func([]byte){
		"count":           func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyCountAt:], math.MaxUint64) },
		"count that fits": func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyCountAt:], 1<<61+1) },
		"size":            func(b []byte) { binary.LittleEndian.PutUint32(b[blockSizeAt:], math.MaxUint32) },
		"half":            func(b []byte) { binary.LittleEndian.PutUint32(b[blockHalfAt:], math.MaxUint32&^(halfUnit-1)) },
		"half unaligned":  func(b []byte) { binary.LittleEndian.PutUint32(b[blockHalfAt:], halfUnit-Alignment) },
		"half too small":  func(b []byte) { binary.LittleEndian.PutUint32(b[blockHalfAt:], 0) },
		"id 0":            func(b []byte) { b[info] = 0 },
		"id not below":    func(b []byte) { b[info] = 8 },
		"kind":            func(b []byte) { b[info+infoKindAt] = 3 },
		"end":             func(b []byte) { binary.LittleEndian.PutUint64(b[info+infoOffsetAt:], math.MaxUint64) },
		"end in header":   func(b []byte) { b[info+infoOffsetAt] = 8 },
		"end unaligned":   func(b []byte) { b[info+infoOffsetAt]++ },
		"next id 0":       func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyNextIDAt:], 0) },
		"id too large":    func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyNextIDAt:], MaxNextID+1) },
		"last number":     func(b []byte) { binary.LittleEndian.PutUint64(b[blockHeaderSize+bodyLastSeqAt:], MaxSeq+1) },
		"watermark":       func(b []byte) { b[blockHeaderSize+bodyWatermarkAt] = 3 },
		"sealed number":   func(b []byte) { b[blockHeaderSize+bodySealedSeqAt] = 3 },
		"end's number":    func(b []byte) { b[info+infoSeqAt] = 3 },
		"clean":           func(b []byte) { b[blockHeaderSize+bodyCleanAt] = 2 },
		"sealed":          func(b []byte) { b[info+infoSealedAt] = 2 },
	} {
		if _, err := ParseManifest(resealed(change)); !errors.Is(err, ErrManifest) {
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

// Recovery expects that only the newest files are unsealed, and that those are of kind Log.
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
