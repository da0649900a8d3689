package segment

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"pgregory.net/rapid"
)

const testSalt = 0x0123456789abcdef

// encode returns the bytes of one pair for a placement.
func encode(p Placement, key, value string, expiry int64) []byte {
	var d Draft
	d.Put([]byte(key), []byte(value), expiry)
	return bytes.Clone(d.Finish(p))
}

// fullPlacement is a placement whose first record has every extension.
var fullPlacement = Placement{
	Salt: testSalt, Offset: 64, Seq: 5, Watermark: 4, HasWatermark: true, Previous: &End{Offset: 128, Seq: 4},
}

func valid(data []byte, salt uint64, offset int64) bool {
	var r Record
	return Decode(&r, data, salt, offset) == nil && r.ValueOK()
}

func TestRecordGolden(t *testing.T) {
	golden(t, "record", exampleRecord())
	golden(t, "record-full", encode(fullPlacement, "key", "value", 1_700_000_000_000))
	var r Record
	if err := Decode(&r, readGolden(t, "record-full"), testSalt, 64); err != nil || !r.ValueOK() {
		t.Fatal(err)
	}
	if string(r.Key) != "key" || string(r.Value) != "value" || r.Expiry != 1_700_000_000_000 || r.Seq != 5 ||
		r.Watermark != 4 || r.Previous != *fullPlacement.Previous || r.Flags != Expires|HasWatermark|HasPrevious || r.Size != 64 {
		t.Errorf("decoded %+v", r)
	}
}

func TestRecordRefusesEveryFlippedBit(t *testing.T) {
	for _, data := range [][]byte{
		encode(fullPlacement, "a key", "a value", 99),
		encode(Placement{Salt: testSalt, Offset: 64, Seq: 1}, "k", "", 0),
		encode(Placement{Salt: testSalt, Offset: 64, Seq: 1}, "", "v", 0),
	} {
		var r Record
		if err := Decode(&r, data, testSalt, 64); err != nil {
			t.Fatal(err)
		}
		withoutPadding := int(LongLayout(len(r.Key), r.Flags)) + len(r.Value)
		for bit := range 8 * withoutPadding {
			data[bit/8] ^= 1 << (bit % 8)
			if valid(data, testSalt, 64) {
				t.Errorf("bit %d flipped, but the record validates", bit)
			}
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestRecordBelongsToItsPlace(t *testing.T) {
	data := encode(fullPlacement, "key", "value", 0)
	for offset := int64(0); offset < 1<<16; offset += Alignment {
		if valid(data, testSalt, offset) != (offset == 64) {
			t.Errorf("wrong result at offset %d", offset)
		}
	}
	for bit := range 64 {
		if valid(data, testSalt^1<<bit, 64) {
			t.Errorf("validates with bit %d of the salt flipped", bit)
		}
	}
}

func TestRecordRefusesEveryTruncation(t *testing.T) {
	data := encode(fullPlacement, "key", "value", 7)
	for n := range data {
		if valid(data[:n:n], testSalt, 64) {
			t.Errorf("%d bytes of %d validate", n, len(data))
		}
	}
}

func TestUniformBytesAreNoRecord(t *testing.T) {
	for _, c := range []byte{0, 0xff} {
		data := bytes.Repeat([]byte{c}, 1<<10)
		for offset := int64(0); offset < 1<<20; offset += Alignment {
			if valid(data, testSalt+uint64(offset), offset) || valid(data, 0, offset) {
				t.Fatalf("%#x validates at %d", c, offset)
			}
		}
	}
}

func TestDecodeSurvivesAnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "data")
		if valid(data, testSalt, 64) {
			t.Fatal("random bytes validate")
		}
	})
	hostile := encode(fullPlacement, "key", "value", 7)
	for i := range 4 {
		hostile[valueSizeAt+i] = 0xff
	}
	var r Record
	if err := Decode(&r, hostile, testSalt, 64); !errors.Is(err, ErrBounds) {
		t.Errorf("a value of 4 GiB: %v", err)
	}
}

func TestExpired(t *testing.T) {
	for _, c := range []struct {
		r    Record
		now  int64
		want bool
	}{
		{Record{}, math.MaxInt64, false},
		{Record{Flags: Expires, Expiry: 10}, 9, false},
		{Record{Flags: Expires, Expiry: 10}, 10, true},
		{Record{Flags: Expires, Expiry: -1}, 0, true},
	} {
		if c.r.Expired(c.now) != c.want {
			t.Errorf("%+v at %d", c.r, c.now)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	data := encode(fullPlacement, "key", "value", 7)
	if n := testing.AllocsPerRun(100, func() {
		if !valid(data, testSalt, 64) {
			panic("the record does not validate")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecode24(b *testing.B)  { benchmarkDecode(b, 24, 24) }
func BenchmarkDecode128(b *testing.B) { benchmarkDecode(b, 24, 128) }

// benchmarkDecode decodes and checks a record that is in the cache.
func benchmarkDecode(b *testing.B, keySize, valueSize int) {
	data := encode(Placement{Salt: testSalt, Offset: 64, Seq: 1}, string(make([]byte, keySize)), string(make([]byte, valueSize)), 0)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var r Record
		if Decode(&r, data, testSalt, 64) != nil || !r.ValueOK() {
			b.Fatal("the record does not validate")
		}
	}
}

func TestReadRecordSize(t *testing.T) {
	data := encode(fullPlacement, "key", "value", 7)
	end := int64(len(data))
	if size, err := ReadRecordSize(bytes.NewReader(data), 0, end); err != nil || size != end {
		t.Errorf("%d, %v, want %d", size, err, end)
	}
	for name, c := range map[string]struct {
		r     io.ReaderAt
		limit int64
		want  error
	}{
		"limit in the record": {bytes.NewReader(data), end - 1, ErrBounds},
		"file in the header":  {bytes.NewReader(data[:RecordHeaderSize-1]), end, ErrBounds},
		"read error":          {failingReader{io.ErrClosedPipe}, end, io.ErrClosedPipe},
	} {
		if _, err := ReadRecordSize(c.r, 0, c.limit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
