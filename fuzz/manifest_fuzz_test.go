package fuzz

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// sealBlocks gives both full copies of a manifest, and the edits after them, matching
// checksums, if their sizes fit.
func sealBlocks(data []byte) []byte {
	const headerSize, versionAt, sumAt, sizeAt, saltAt = 32, 8, 12, 16, 24
	data = bytes.Clone(data)
	for _, half := range [][]byte{data[len(data)/2:], data} {
		if len(half) < headerSize {
			continue
		}
		size, covered := binary.LittleEndian.Uint64(half[sizeAt:]), []byte(nil)
		if version := half[versionAt:sumAt]; binary.LittleEndian.Uint32(version) != 1 {
			size, covered = uint64(uint32(size)), version
		}
		if size > uint64(len(half)-headerSize) {
			continue
		}
		block := half[:headerSize+size]
		binary.LittleEndian.PutUint32(half[sumAt:], sealed(slices.Concat(covered, block[sizeAt:]), 0, 0, sealManifest))
		sealEdits(half, len(block), binary.LittleEndian.Uint64(half[saltAt:]))
	}
	return data
}

func sealEdits(half []byte, at int, salt uint64) {
	const headerSize, sizeAt, minSize = 24, 16, 72
	for len(half)-at >= minSize {
		size := binary.LittleEndian.Uint32(half[at+sizeAt:])
		if size < minSize || uint64(size) > uint64(len(half)-at) {
			return
		}
		edit := half[at:][:size]
		binary.LittleEndian.PutUint32(edit[4:], sealed(edit[headerSize:], salt, uint64(at), sealChange))
		binary.LittleEndian.PutUint32(edit, sealed(edit[4:headerSize], salt, uint64(at), sealEdit))
		at += int(size)
	}
}

// FuzzManifest checks that a manifest that ParseManifest accepts encodes to an equal one.
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
	next := m
	next.Edit, next.NextID, next.Clean = 4, 10, false
	next.Segments = append(slices.Clone(m.Segments), segment.SegmentInfo{ID: 9, Salt: 3, Kind: segment.Log})
	log := m.EditLog()
	edit := log.Encode(nil, &m, &next)
	for _, place := range log.Places() {
		copy(whole[place:], edit)
	}
	add(whole)
	add(whole[:len(whole)-1])
	add([]byte("MMKVMAN\x00"))
	f.Fuzz(func(t *testing.T, data []byte, honest bool) {
		if honest {
			data = sealBlocks(data)
		}
		boundMemory(t, len(data), func() { readManifest(t, data) })
	})
}

func readManifest(t *testing.T, data []byte) {
	m, state, err := segment.InspectManifest(data)
	if err != nil {
		return
	}
	if state.Edits > len(data)/2 || len(state.Damages) > state.Edits+2 {
		t.Fatalf("%+v of %d bytes", state, len(data))
	}
	again, err := segment.ParseManifest(m.Append(nil))
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Fatalf("%+v became %+v, %v", m, again, err)
	}
}
