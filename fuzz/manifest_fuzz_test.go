package fuzz

import (
	"reflect"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// FuzzManifest: what ParseManifest accepts encodes to something equal.
func FuzzManifest(f *testing.F) {
	m := segment.Manifest{NextID: 1}
	f.Add(m.Append(nil))
	m = segment.Manifest{
		Edit: 3, NextID: 9, LastSeq: 12, Watermark: 11, Clean: true,
		Segments: []segment.SegmentInfo{
			{ID: 8, Salt: 1, Kind: segment.Merged, Sealed: true, End: segment.End{Offset: 128, Seq: 4}},
			{ID: 7, Salt: 2, Kind: segment.Log, End: segment.End{Offset: 64, Seq: 12}},
		},
	}
	whole := m.Append(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("MMKVMAN\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := segment.ParseManifest(data)
		if err != nil {
			return
		}
		again, err := segment.ParseManifest(m.Append(nil))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
