package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// sealPartialBytes gives a partial hint matching checksums, if its lengths fit.
func sealPartialBytes(data []byte) []byte {
	const header, tail = 64, 8
	data = bytes.Clone(data)
	if len(data) >= header+tail {
		from := binary.LittleEndian.Uint64(data[24:])
		data = append(data[:header:header], sealTableBytes(data[header:], fuzzSalt^sealRange^from*0x9e3779b97f4a7c15)...)
		content := slices.Concat(data[:12], data[16:header], data[len(data)-tail:])
		binary.LittleEndian.PutUint32(data[12:], sealed(content, fuzzSalt, fuzzHintID, sealRange))
	}
	return data
}

// FuzzPartial reads any bytes as a partial hint. One that is accepted says something that a writer can
// have meant, and reading its entries takes memory in proportion to its size and does not panic.
func FuzzPartial(f *testing.F) {
	add := func(data []byte) {
		f.Add(data, false)
		f.Add(data, true)
	}
	b := segment.NewHintBuilder()
	for i := range 70 {
		b.Add(segment.Entry{Offset: 64 + 64*int64(i), Size: 64, Seq: uint64(3 + i), Key: fmt.Appendf(nil, "user:%03d", i)})
	}
	r := segment.Range{From: segment.End{Offset: 64, Seq: 2}, To: segment.End{Offset: 64 + 64*70, Seq: 72}, Previous: segment.End{Offset: 4096, Seq: 2}, Last: 64 + 64*69}
	add(b.EncodePartial(fuzzHintID, fuzzSalt, r))
	add([]byte("MMKVPRT\x00"))
	add(hintOfParts())
	f.Fuzz(func(t *testing.T, data []byte, forged bool) {
		if forged {
			data = sealPartialBytes(data)
		}
		boundMemory(t, len(data), func() { readPartial(t, data) })
	})
}

func readPartial(t *testing.T, data []byte) {
	p, err := segment.OpenPartial(bytes.NewReader(data), int64(len(data)), fuzzHintID, fuzzSalt, nil)
	if err != nil {
		return
	}
	if p.From.Offset < segment.HeaderSize || p.To.Offset <= p.From.Offset || p.To.Seq <= p.From.Seq || p.Len() == 0 || p.Records() < p.Len() {
		t.Errorf("%+v of %d entries is accepted", p.Range, p.Len())
	}
	for e, err := range p.Entries() {
		if err == nil && e.Offset+e.Size > p.To.Offset {
			t.Errorf("the entry at %d has %d bytes, behind %d", e.Offset, e.Size, p.To.Offset)
		}
	}
}
