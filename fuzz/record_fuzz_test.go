package fuzz

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

const (
	fuzzSalt   = 0x0123456789abcdef
	fuzzOffset = segment.HeaderSize
)

// The checksums of segment/doc.go, implemented again. A fuzzer never finds a matching one by
// itself, so without this it would never reach the code past the checksum tests.
const (
	sealHeader   = 0x9ae16a3b2f90404f
	sealValue    = 0xc3a5c85c97cb3127
	sealHint     = 0xb492b66fbe98f273
	sealPart     = 0x8ebc6af09c88c6e3
	sealRange    = 0xe7037ed1a0b428db
	sealManifest = 0x9ddfea08eb382d69
	sealEdit     = 0xd6e8feb86659fd93
	sealChange   = 0xa0761d6478bd642f
)

func sealed(content []byte, salt, offset, role uint64) uint32 {
	x := (salt ^ role) + offset*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	sum := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)) ^ uint32(x^x>>31)
	return max(sum, 1)
}

// sealRecord gives the record at the start of data matching checksums, if its lengths fit.
func sealRecord(data []byte) []byte {
	data = bytes.Clone(data)
	if len(data) < segment.RecordHeaderSize {
		return data
	}
	flags := segment.Flags(data[22])
	keySize, valueSize := int(binary.LittleEndian.Uint16(data[20:])), int64(binary.LittleEndian.Uint32(data[16:]))
	head := segment.LongLayout(keySize, flags)
	if head > int64(len(data)) || valueSize > int64(len(data))-head {
		return data
	}
	binary.LittleEndian.PutUint32(data[4:], sealed(data[head:][:valueSize], fuzzSalt, fuzzOffset, sealValue))
	binary.LittleEndian.PutUint32(data, sealed(data[4:head], fuzzSalt, fuzzOffset, sealHeader))
	return data
}

// boundMemory fails the test if read allocates much more than the size of its input justifies.
func boundMemory(t *testing.T, given int, read func()) {
	t.Helper()
	const scanWindow, slack = 1 << 20, 1 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(32*given+2*scanWindow+slack) {
		t.Fatalf("an input of %d bytes made it allocate %d", given, grown)
	}
}

// FuzzRecord checks that Decode and a Scanner handle any bytes and agree about them, and that a
// Draft writes what they accept.
func FuzzRecord(f *testing.F) {
	add := func(data []byte) {
		f.Add(data, false)
		f.Add(data, true)
	}
	var d segment.Draft
	d.Put([]byte("key"), []byte("value"), 0)
	add(bytes.Clone(d.Finish(segment.Placement{Salt: fuzzSalt, Offset: fuzzOffset, Seq: 1})))
	d.Delete([]byte("gone"))
	d.Put(nil, nil, 77)
	add(bytes.Clone(d.Finish(segment.Placement{
		Salt: fuzzSalt, Offset: fuzzOffset, Seq: 5, Watermark: 4, HasWatermark: true, Previous: &segment.End{Offset: 128, Seq: 4},
	})))
	d.Reset()
	d.Put([]byte("until then"), []byte("1"), -1)
	add(bytes.Clone(d.Finish(segment.Placement{Salt: fuzzSalt, Offset: fuzzOffset, Seq: 1 << 63})))
	add([]byte{})
	add(make([]byte, 64))
	add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, data []byte, honest bool) {
		if honest {
			data = sealRecord(data)
		}
		boundMemory(t, len(data), func() { readRecord(t, data) })
	})
}

func readRecord(t *testing.T, data []byte) {
	var r segment.Record
	decodeErr := segment.Decode(&r, data, fuzzSalt, fuzzOffset)
	file := append(make([]byte, fuzzOffset), data...)
	s := segment.NewScanner(bytes.NewReader(file), fuzzSalt, fuzzOffset, int64(len(file)))
	e, err := s.Next()
	if (decodeErr == nil) != (err == nil) {
		t.Fatalf("Decode says %v, the scanner %v", decodeErr, err)
	}
	if err == nil && (r.Seq != e.Seq || r.Flags != e.Flags || r.Size != e.Size || !bytes.Equal(r.Key, e.Key) ||
		int64(len(r.Value)) != e.ValueSize || r.ValueOK() != e.ValueOK || r.Expiry != e.Expiry ||
		r.Watermark != e.Watermark || r.Previous != e.Previous) {
		t.Fatalf("Decode has %+v, the scanner %+v", r, e)
	}
	if err == nil && r.ValueOK() {
		writeAgain(t, &r, data[:r.Size])
	}
	if _, err := segment.BuildHint(bytes.NewReader(file), fuzzSalt, fuzzOffset, int64(len(file)), nil); err != nil {
		t.Fatal(err)
	}
}

// writeAgain checks that a Draft writes the decoded record as the same bytes.
func writeAgain(t *testing.T, r *segment.Record, data []byte) {
	var d segment.Draft
	switch {
	case r.Flags&segment.Expires == 0 && r.Flags&segment.Tombstone != 0:
		d.Delete(r.Key)
	case (r.Expiry != 0) == (r.Flags&segment.Expires != 0) && r.Flags&segment.Tombstone == 0:
		d.Put(r.Key, r.Value, r.Expiry)
	default:
		return // valid, but no Draft writes it: a tombstone that expires, an expiry of 0
	}
	if r.Flags&segment.BatchGoesOn != 0 {
		d.Delete(nil)
	}
	p := segment.Placement{Salt: fuzzSalt, Offset: fuzzOffset, Seq: r.Seq, Watermark: r.Watermark, HasWatermark: r.Flags&segment.HasWatermark != 0}
	if r.Flags&segment.HasPrevious != 0 {
		p.Previous = &r.Previous
	}
	meant := segment.LongLayout(len(r.Key), r.Flags) + int64(len(r.Value)) // without the padding
	if written := d.Finish(p); !bytes.Equal(written[:meant], data[:meant]) {
		t.Fatalf("%x was written again as %x", data, written)
	}
}

func TestFuzzSealsAreTheSegments(t *testing.T) {
	var d segment.Draft
	d.Put([]byte("key"), []byte("value"), 77)
	record := d.Finish(segment.Placement{Salt: fuzzSalt, Offset: fuzzOffset, Seq: 1})
	if !bytes.Equal(sealRecord(record), record) {
		t.Error("the record's checksums differ")
	}
	hint := hintOfParts()
	if !bytes.Equal(sealHintBytes(hint), hint) {
		t.Error("the hint's checksums differ")
	}
	manifest := (&segment.Manifest{NextID: 1}).Append(nil)
	if !bytes.Equal(sealBlocks(manifest), manifest) {
		t.Error("the manifest's checksums differ")
	}
}
