package segment

import (
	"bytes"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// testOp is one operation of a random batch.
type testOp struct {
	key, value []byte
	expiry     int64
	deletes    bool
}

func drawOps(t *rapid.T) []testOp {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) testOp {
		op := testOp{key: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key"), deletes: rapid.Bool().Draw(t, "deletes")}
		if !op.deletes {
			op.value = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "value")
			op.expiry = rapid.SampledFrom([]int64{0, 1, -5, 1 << 40}).Draw(t, "expiry")
		}
		return op
	}), 1, 8).Draw(t, "ops")
}

func drawPlacement(t *rapid.T) Placement {
	p := Placement{
		Salt: rapid.Uint64().Draw(t, "salt"), Offset: Alignment * rapid.Int64Range(8, 1000).Draw(t, "offset"),
		Seq: rapid.Uint64Range(1, 1<<60).Draw(t, "seq"), HasWatermark: rapid.Bool().Draw(t, "has watermark"),
	}
	if p.HasWatermark {
		p.Watermark = rapid.Uint64().Draw(t, "watermark")
	}
	if rapid.Bool().Draw(t, "has previous") {
		p.Previous = &End{rapid.Int64().Draw(t, "previous"), rapid.Uint64().Draw(t, "previous seq")}
	}
	return p
}

// shifted reads bytes that lie at an offset of a file.
type shifted struct {
	data []byte
	at   int64
}

func (s shifted) ReadAt(p []byte, offset int64) (int, error) {
	return bytes.NewReader(s.data).ReadAt(p, offset-s.at)
}

func TestDraftIsReadAsWritten(t *testing.T) {
	var d Draft
	rapid.Check(t, func(t *rapid.T) {
		ops := drawOps(t)
		d.Reset()
		for _, op := range ops {
			if op.deletes {
				d.Delete(op.key)
			} else {
				d.Put(op.key, op.value, op.expiry)
			}
		}
		for range 2 { // a draft can be finished again, for another placement
			p := drawPlacement(t)
			data := d.Finish(p)
			if int64(len(data)) != d.EncodedSize(p.HasWatermark, p.Previous != nil) || int64(len(data)) > d.Size() {
				t.Fatalf("%d bytes, EncodedSize says %d", len(data), d.EncodedSize(p.HasWatermark, p.Previous != nil))
			}
			checkDraft(t, &d, ops, p, data)
		}
	})
}

// checkDraft reads a draft's bytes with Decode and with a Scanner.
func checkDraft(t *rapid.T, d *Draft, ops []testOp, p Placement, data []byte) {
	end := p.Offset + int64(len(data))
	s := NewScanner(shifted{data, p.Offset}, p.Salt, p.Offset, end)
	for i, op := range ops {
		at, size := d.Position(i, p.Offset)
		var r Record
		if err := Decode(&r, data[at-p.Offset:], p.Salt, at); err != nil || !r.ValueOK() {
			t.Fatalf("record %d: %v", i, err)
		}
		want := Record{Seq: p.Seq + uint64(i), Expiry: op.expiry}
		if i == 0 {
			want.Flags, want.Watermark = p.first(), p.Watermark
			if p.Previous != nil {
				want.Previous = *p.Previous
			}
		}
		want.Flags |= flagIf(op.deletes, Tombstone) | flagIf(op.expiry != 0, Expires) | flagIf(i < len(ops)-1, BatchGoesOn)
		if r.Seq != want.Seq || r.Flags != want.Flags || r.Expiry != want.Expiry || r.Watermark != want.Watermark ||
			r.Previous != want.Previous || r.Size != size || !bytes.Equal(r.Key, op.key) || !bytes.Equal(r.Value, op.value) {
			t.Fatalf("record %d: %+v, want %+v", i, r, want)
		}
		e, err := s.Next()
		if err != nil || e.Offset != at || e.Size != r.Size || e.Seq != r.Seq || e.Flags != r.Flags || e.Expiry != r.Expiry ||
			e.Watermark != r.Watermark || e.Previous != r.Previous || !bytes.Equal(e.Key, r.Key) ||
			e.ValueSize != int64(len(r.Value)) || !e.ValueOK {
			t.Fatalf("record %d: the scanner has %+v, %v, Decode %+v", i, e, err, r)
		}
		if !bytes.Equal(d.Key(i), op.key) || d.IsDelete(i) != op.deletes || d.Expiry(i) != op.expiry {
			t.Fatalf("the draft returns another entry %d", i)
		}
	}
	if _, err := s.Next(); err != io.EOF || s.Offset() != end {
		t.Fatalf("after the last record: %v", err)
	}
}

func flagIf(set bool, flag Flags) Flags {
	if set {
		return flag
	}
	return 0
}

func TestDraftSetsExpiryLater(t *testing.T) {
	var d Draft
	d.Put([]byte("key"), []byte("value"), 1)
	d.SetExpiry(0, 77)
	var r Record
	if err := Decode(&r, d.Finish(fullPlacement), testSalt, 64); err != nil || r.Expiry != 77 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReusedDraftAllocatesNothing(t *testing.T) {
	var d Draft
	key, value := make([]byte, 24), make([]byte, 128)
	if n := testing.AllocsPerRun(100, func() {
		d.Reset()
		d.Put(key, value, 9)
		d.Finish(fullPlacement)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDraftDoesNotKeepMuchMemory(t *testing.T) {
	var d Draft
	d.Put(nil, make([]byte, 2*keptBuffer), 0)
	d.Reset()
	if cap(d.buffer) > keptBuffer || d.Len() != 0 {
		t.Errorf("kept %d bytes, %d entries", cap(d.buffer), d.Len())
	}
}

func BenchmarkDraft(b *testing.B) {
	var d Draft
	key, value := make([]byte, 24), make([]byte, 128)
	for b.Loop() {
		d.Reset()
		d.Put(key, value, 0)
		d.Finish(Placement{Salt: testSalt, Offset: 64, Seq: 1})
	}
}

func TestEmptyDraftIsNothing(t *testing.T) {
	var d Draft
	d.Put([]byte("key"), nil, 0)
	d.Finish(fullPlacement)
	d.Reset()
	if d.Len() != 0 || d.Size() != 0 || d.EncodedSize(true, true) != 0 || len(d.Finish(fullPlacement)) != 0 {
		t.Errorf("%d entries, %d bytes", d.Len(), d.EncodedSize(true, true))
	}
}
