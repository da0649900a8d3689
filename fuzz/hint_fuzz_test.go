package fuzz

import (
	"bytes"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// FuzzHint: what ParseHint accepts can be walked and searched, and encodes to
// itself.
func FuzzHint(f *testing.F) {
	const id = 7
	end := segment.End{Offset: 1 << 20, Seq: 9}
	empty := segment.NewHintBuilder()
	f.Add(empty.Encode(id, fuzzSalt, end, 0))
	b := segment.NewHintBuilder()
	b.Add(segment.Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("key")})
	b.Add(segment.Entry{Offset: 96, Size: 32, Seq: 2, Key: []byte("gone"), Flags: segment.Tombstone})
	b.AddDamage(segment.Damage{Offset: 128, Length: 64})
	f.Add(b.Encode(id, fuzzSalt, end, 1))
	f.Add([]byte("MMKVHNT\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := segment.ParseHint(data, id, fuzzSalt)
		if err != nil {
			return
		}
		again := segment.NewHintBuilder()
		for e := range h.Entries {
			if found, ok := h.Find(e.Key); !ok || found.Offset != e.Offset {
				t.Fatalf("%q is not found", e.Key)
			}
			again.Add(segment.Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Expiry: e.Expiry, Flags: e.Flags, Key: e.Key})
		}
		for _, d := range h.Damages() {
			again.AddDamage(d)
		}
		if encoded := again.Encode(id, fuzzSalt, h.Covers, h.Watermark); !bytes.Equal(encoded, data) {
			t.Fatalf("%x encodes to %x", data, encoded)
		}
	})
}
