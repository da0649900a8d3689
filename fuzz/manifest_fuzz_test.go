package fuzz

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// sealBlocks gives both blocks of a manifest checksums that fit, if their sizes
// do.
func sealBlocks(data []byte) []byte {
	const headerSize, sumAt, sizeAt = 32, 12, 16
	data = bytes.Clone(data)
	for _, block := range [][]byte{data[len(data)/2:], data} {
		if len(block) < headerSize {
			continue
		}
		if size := binary.LittleEndian.Uint64(block[sizeAt:]); size <= uint64(len(block)-headerSize) {
			binary.LittleEndian.PutUint32(block[sumAt:], sealed(block[sizeAt:headerSize+size], 0, 0, sealManifest))
		}
	}
	return data
}

// FuzzManifest: what ParseManifest accepts encodes to something equal.
func FuzzManifest(f *testing.F) {
	add := func(data []byte) {
		f.Add(data, false)
		f.Add(data, true)
	}
	m := segment.Manifest{NextID: 1}
	add(m.Append(nil))
	m = segment.Manifest{
		Edit: 3, NextID: 9, LastSeq: 12, Watermark: 11, Clean: true,
		Segments: []segment.SegmentInfo{
			{ID: 8, Salt: 1, Kind: segment.Merged, Sealed: true, End: segment.End{Offset: 128, Seq: 4}},
			{ID: 7, Salt: 2, Kind: segment.Log, End: segment.End{Offset: 64, Seq: 12}},
		},
	}
	whole := m.Append(nil)
	add(whole)
	add(whole[:len(whole)/2])
	add([]byte("MMKVMAN\x00"))
	f.Fuzz(func(t *testing.T, data []byte, honest bool) {
		if honest {
			data = sealBlocks(data)
		}
		boundMemory(t, len(data), func() { readManifest(t, data) })
	})
}

func readManifest(t *testing.T, data []byte) {
	m, err := segment.ParseManifest(data)
	if err != nil {
		return
	}
	again, err := segment.ParseManifest(m.Append(nil))
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Fatalf("%+v became %+v, %v", m, again, err)
	}
}
