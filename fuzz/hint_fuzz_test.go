package fuzz

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

const fuzzHintID = 7

// sealHintBytes gives a hint a matching checksum.
func sealHintBytes(data []byte) []byte {
	data = bytes.Clone(data)
	if body := len(data) - 8; body >= 0 {
		binary.LittleEndian.PutUint64(data[body:], uint64(sealed(data[:body], fuzzSalt, fuzzHintID, sealHint)))
	}
	return data
}

// FuzzHint checks that a hint that ParseHint accepts can be iterated and searched, and encodes
// to itself.
func FuzzHint(f *testing.F) {
	add := func(data []byte) {
		f.Add(data, false)
		f.Add(data, true)
	}
	end := segment.End{Offset: 1 << 20, Seq: 9}
	empty := segment.NewHintBuilder()
	add(empty.Encode(fuzzHintID, fuzzSalt, end, 0))
	b := segment.NewHintBuilder()
	b.Add(segment.Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("key")})
	b.Add(segment.Entry{Offset: 96, Size: 32, Seq: 2, Key: []byte("gone"), Flags: segment.Tombstone})
	b.AddDamage(segment.Damage{Offset: 128, Length: 64})
	add(b.Encode(fuzzHintID, fuzzSalt, end, 1))
	add([]byte("MMKVHNT\x00"))
	f.Fuzz(func(t *testing.T, data []byte, honest bool) {
		if honest {
			data = sealHintBytes(data)
		}
		boundMemory(t, len(data), func() { readHint(t, data) })
	})
}

func readHint(t *testing.T, data []byte) {
	h, err := segment.ParseHint(data, fuzzHintID, fuzzSalt)
	if err != nil {
		return
	}
	again := segment.NewHintBuilder()
	i := 0
	for e := range h.Entries {
		if found, ok := h.Find(e.Key); !ok || found.Offset != e.Offset || h.At(i).Offset != e.Offset {
			t.Fatalf("%q is not found", e.Key)
		}
		again.Add(segment.Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Expiry: e.Expiry, Flags: e.Flags, Key: e.Key})
		i++
	}
	if i != h.Len() {
		t.Fatalf("%d entries of %d", i, h.Len())
	}
	for _, d := range h.Damages() {
		again.AddDamage(d)
	}
	if encoded := again.Encode(fuzzHintID, fuzzSalt, h.Covers, h.Watermark); !bytes.Equal(encoded, data) {
		t.Fatalf("%x encodes to %x", data, encoded)
	}
}
