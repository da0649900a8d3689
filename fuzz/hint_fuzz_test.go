package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

const fuzzHintID = 7

// sealHintBytes gives a hint and its parts matching checksums, if its lengths fit.
func sealHintBytes(data []byte) []byte { return sealTableBytes(data, fuzzSalt) }

// sealTableBytes does that with another salt.
func sealTableBytes(data []byte, salt uint64) []byte {
	const header, line, tail = 80, 20, 8
	data = bytes.Clone(data)
	if len(data) < header+tail {
		return data
	}
	le := binary.LittleEndian
	sections := len(data) - tail
	directory := int64(sections) - int64(le.Uint32(data[12:]))*16 - int64(le.Uint32(data[76:])) - int64(le.Uint32(data[72:]))*line
	if directory < header {
		return data
	}
	lines := slices.Collect(slices.Chunk(data[directory:directory+int64(le.Uint32(data[72:]))*line], line))
	for i, one := range lines {
		begin, end := int64(le.Uint32(one[12:]))*8, directory
		if i+1 < len(lines) {
			end = int64(le.Uint32(lines[i+1][12:])) * 8
		}
		if begin <= end && end <= directory {
			content := slices.Concat(data[8:48], data[begin:end])
			le.PutUint32(one[16:], sealed(content, salt, uint64(begin), sealPart))
		}
	}
	content := slices.Concat(data[:header], data[directory:sections])
	le.PutUint64(data[sections:], uint64(sealed(content, salt, fuzzHintID, sealHint)))
	return data
}

// hintOfParts is a hint of several parts, with all that an entry can have.
func hintOfParts() []byte {
	b := segment.NewHintBuilder()
	b.Add(segment.Entry{Offset: 64, Size: 64, Seq: 1, Key: []byte("gone"), Flags: segment.Tombstone})
	b.Add(segment.Entry{Offset: 128, Size: 1 << 12, Seq: 2, Key: bytes.Repeat([]byte("long"), 1000)})
	for i := range 70 {
		e := segment.Entry{Offset: 1<<13 + 64*int64(i), Size: 64, Seq: uint64(3 + i), Key: fmt.Appendf(nil, "user:%03d", i)}
		if i%10 == 0 {
			e.Flags, e.Expiry = segment.Expires, int64(i+1)
		}
		b.Add(e)
	}
	b.AddDamage(segment.Damage{Offset: 1 << 14, Length: 64})
	return b.Encode(fuzzHintID, fuzzSalt, segment.End{Offset: 1 << 20, Seq: 90}, 80)
}

// FuzzHint reads any bytes as a hint. A hint that is accepted as a whole holds the same entries
// after they are encoded again. Whatever else it is, reading it does not panic, and reading it at
// random finds nothing but what reading it in order does.
func FuzzHint(f *testing.F) {
	add := func(data []byte) {
		f.Add(data, false)
		f.Add(data, true)
	}
	end := segment.End{Offset: 1 << 20, Seq: 9}
	add(segment.NewHintBuilder().Encode(fuzzHintID, fuzzSalt, end, 0))
	b := segment.NewHintBuilder()
	b.Add(segment.Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("key")})
	add(b.Encode(fuzzHintID, fuzzSalt, end, 1))
	add(hintOfParts())
	add([]byte("MMKVHNT\x00"))
	f.Fuzz(func(t *testing.T, data []byte, forged bool) {
		if forged {
			data = sealHintBytes(data)
		}
		boundMemory(t, len(data), func() { readHint(t, data) })
	})
}

func readHint(t *testing.T, data []byte) {
	h, err := segment.OpenTableIn(data, fuzzHintID, fuzzSalt, nil)
	if err != nil {
		return
	}
	if err := h.Check(); err != nil {
		wander(h) // it may find anything
		return
	}
	entries := entriesOf(t, h)
	if len(entries) != h.Len() {
		t.Fatalf("%d entries of %d", len(entries), h.Len())
	}
	again := segment.NewHintBuilder()
	c := h.Cursor()
	for i, e := range entries {
		if !c.Seek(e.Key) || !c.At(i) || !c.Seek(e.Key) || c.Index() != i || !sameHintEntry(c.Entry(), e) {
			t.Fatalf("%q is not found: %v", e.Key, c.Err())
		}
		again.Add(segment.Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Expiry: e.Expiry, Flags: e.Flags, Key: e.Key})
	}
	for _, d := range h.Damages() {
		again.AddDamage(d)
	}
	encoded, err := segment.OpenTableIn(again.Encode(fuzzHintID, fuzzSalt, h.Covers, h.Watermark), fuzzHintID, fuzzSalt, nil)
	if err != nil {
		t.Fatalf("%x encodes to a hint that is no hint: %v", data, err)
	}
	if got := entriesOf(t, encoded); !slices.EqualFunc(got, entries, sameHintEntry) || !slices.Equal(encoded.Damages(), h.Damages()) {
		t.Fatalf("%x encodes to %v", data, got)
	}
}

func entriesOf(t *testing.T, h *segment.Table) (list []segment.HintEntry) {
	for e, err := range h.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		e.Key = bytes.Clone(e.Key)
		list = append(list, e)
	}
	return list
}

func sameHintEntry(a, b segment.HintEntry) bool {
	keys := bytes.Equal(a.Key, b.Key)
	return keys && a.Offset == b.Offset && a.Size == b.Size && a.Seq == b.Seq && a.Flags == b.Flags && a.Expiry == b.Expiry
}

// wander moves over a table in all ways.
func wander(h *segment.Table) {
	key := []byte("user:03")
	for range h.Entries() {
	}
	for _, begin := range []func(c *segment.Cursor) bool{
		(*segment.Cursor).First, (*segment.Cursor).Last,
		func(c *segment.Cursor) bool { return c.At(h.Len() / 2) },
		func(c *segment.Cursor) bool { return c.Seek(key) },
	} {
		c := h.Cursor()
		for more, steps := begin(c), 0; more && steps < 100; steps++ {
			key = append(key[:0], c.Entry().Key...)
			more = c.Next() || c.Prev()
		}
	}
}

// FuzzRottenHint changes a hint that was written. Whatever is read of it then was written: the
// checksums are not forged.
func FuzzRottenHint(f *testing.F) {
	whole := hintOfParts()
	h, err := segment.OpenTableIn(whole, fuzzHintID, fuzzSalt, nil)
	if err != nil {
		f.Fatal(err)
	}
	written := map[string]segment.HintEntry{}
	for e, err := range h.Entries() {
		if err != nil {
			f.Fatal(err)
		}
		key := string(e.Key)
		e.Key = []byte(key)
		written[key] = e
	}
	f.Add(uint16(300), []byte{1}, uint16(0), false)
	f.Add(uint16(90), []byte{1, 2, 3}, uint16(500), true)
	f.Add(uint16(0), []byte{}, uint16(7), true)
	f.Fuzz(func(t *testing.T, at uint16, change []byte, cut uint16, late bool) {
		rotten := bytes.Clone(whole)
		rot := func() {
			for i, b := range change {
				rotten[(int(at)+i)%len(rotten)] ^= b
			}
		}
		if !late {
			rot()
		}
		h, err := segment.OpenTableIn(rotten[:len(rotten)-int(cut)%len(rotten)], fuzzHintID, fuzzSalt, nil)
		if err != nil {
			return
		}
		if late {
			rot()
		}
		same := func(e segment.HintEntry) {
			if !sameHintEntry(e, written[string(e.Key)]) {
				t.Fatalf("read %+v, which nobody wrote", e)
			}
		}
		for e, err := range h.Entries() {
			if err == nil {
				same(e)
			} else if !errors.Is(err, segment.ErrHint) {
				t.Fatal(err)
			}
		}
		c := h.Cursor()
		for key := range written {
			if c.Seek([]byte(key)) {
				same(c.Entry())
				if string(c.Entry().Key) != key {
					t.Fatalf("Seek(%q) found %q", key, c.Entry().Key)
				}
			} else if c.Err() == nil {
				t.Fatalf("%q is not there, without an error", key)
			} else {
				c = h.Cursor()
			}
		}
	})
}
