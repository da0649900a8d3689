package fuzz

import (
	"bytes"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

const (
	fuzzSalt   = 0x0123456789abcdef
	fuzzOffset = segment.HeaderSize
)

// FuzzRecord: Decode and a Scanner take any bytes, and agree about them.
func FuzzRecord(f *testing.F) {
	var d segment.Draft
	d.Put([]byte("key"), []byte("value"), 0)
	f.Add(bytes.Clone(d.Finish(segment.Placement{Salt: fuzzSalt, Offset: fuzzOffset, Seq: 1})))
	d.Delete([]byte("gone"))
	d.Put(nil, nil, 77)
	f.Add(bytes.Clone(d.Finish(segment.Placement{
		Salt: fuzzSalt, Offset: fuzzOffset, Seq: 5, Watermark: 4, HasWatermark: true, Previous: &segment.End{Offset: 128, Seq: 4},
	})))
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r segment.Record
		decodeErr := segment.Decode(&r, data, fuzzSalt, fuzzOffset)
		file := append(make([]byte, fuzzOffset), data...)
		s := segment.NewScanner(bytes.NewReader(file), fuzzSalt, fuzzOffset, int64(len(file)))
		e, err := s.Next()
		if (decodeErr == nil) != (err == nil) {
			t.Fatalf("Decode says %v, the scanner %v", decodeErr, err)
		}
		if err == nil && (r.Seq != e.Seq || r.Flags != e.Flags || r.Size != e.Size || !bytes.Equal(r.Key, e.Key) ||
			int64(len(r.Value)) != e.ValueSize || r.ValueOK() != e.ValueOK || r.Expiry != e.Expiry || r.Previous != e.Previous) {
			t.Fatalf("Decode has %+v, the scanner %+v", r, e)
		}
		if _, err := segment.BuildHint(bytes.NewReader(file), fuzzSalt, fuzzOffset, int64(len(file))); err != nil {
			t.Fatal(err)
		}
	})
}
