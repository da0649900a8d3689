package segment

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// logOf puts pairs at consecutive offsets, after room for the header.
func logOf(values ...[]byte) (data []byte, offsets []int64) {
	data = make([]byte, HeaderSize)
	for i, value := range values {
		offsets = append(offsets, int64(len(data)))
		data = append(data, encode(Placement{Salt: testSalt, Offset: int64(len(data)), Seq: uint64(i + 1)},
			fmt.Sprintf("key %d", i), string(value), 0)...)
	}
	return data, offsets
}

func scan(data []byte) *Scanner {
	return NewScanner(bytes.NewReader(data), testSalt, HeaderSize, int64(len(data)))
}

func TestScannerKeepsTheKeyAtWindowBorders(t *testing.T) {
	const around = 200
	for first := scanWindow - HeaderSize - around; first < scanWindow+around; first += Alignment {
		data, offsets := logOf(make([]byte, first), bytes.Repeat([]byte("abcdefgh"), 20), make([]byte, 3*scanWindow/2), nil)
		s := scan(data)
		for i, offset := range offsets {
			e, err := s.Next()
			if err != nil || !e.ValueOK || e.Offset != offset || string(e.Key) != fmt.Sprintf("key %d", i) {
				t.Fatalf("first value %d, record %d: key %q, %v, value ok %v", first, i, e.Key, err, e.ValueOK)
			}
		}
	}
}

func TestScannerSeesSmallRecordsAcrossWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, HeaderSize)
	var keys []string
	for seq := uint64(1); len(data) < 3*scanWindow; seq++ {
		key := make([]byte, rng.IntN(3000))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		keys = append(keys, string(key))
		data = append(data, encode(Placement{Salt: testSalt, Offset: int64(len(data)), Seq: seq}, string(key), string(key), 0)...)
	}
	s := scan(data)
	for i, key := range keys {
		if e, err := s.Next(); err != nil || string(e.Key) != key || !e.ValueOK {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

func TestScannerOnEveryTruncation(t *testing.T) {
	data, offsets := logOf([]byte("one"), []byte("two"))
	for n := int(offsets[1]); n < len(data); n++ {
		for _, to := range []int{n, len(data)} { // either the limit or the file is short
			s := NewScanner(bytes.NewReader(data[:n]), testSalt, HeaderSize, int64(to))
			if e, err := s.Next(); err != nil || !e.ValueOK {
				t.Fatal(err)
			}
			e, err := s.Next()
			whole := err == nil && e.ValueOK
			if unpadded := n >= len(data)-3 && to == len(data); whole && !unpadded {
				t.Errorf("%d of %d bytes, limit %d: a whole record", n, len(data), to)
			}
		}
	}
}

func TestScannerTellsADamagedValue(t *testing.T) {
	data, offsets := logOf(bytes.Repeat([]byte("v"), 2*scanWindow), []byte("two"))
	data[offsets[1]-20] ^= 1
	s := scan(data)
	if e, err := s.Next(); err != nil || e.ValueOK || string(e.Key) != "key 0" {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := s.Next(); err != nil || !e.ValueOK {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestResyncFindsNothingInsideAValue(t *testing.T) {
	plain, offsets := logOf([]byte("one"), []byte("two"))
	copied := plain[offsets[1]:]
	planted := encode(Placement{Salt: testSalt + 1, Offset: 96, Seq: 9}, "planted", "value", 0)
	value := append(bytes.Repeat(copied, 5), bytes.Repeat(planted, 50)...)
	data, offsets := logOf([]byte("one"), []byte("two"), value, []byte("last"))
	data[offsets[2]] ^= 1
	s := scan(data)
	for range 2 {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Next(); err != ErrBadRecord || s.Offset() != offsets[2] {
		t.Fatalf("%v at %d", err, s.Offset())
	}
	if e, err := s.Resync(1); err != nil || e.Offset != offsets[3] || string(e.Key) != "key 3" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestResyncHeedsTheLowestNumber(t *testing.T) {
	data, _ := logOf([]byte("one"), []byte("two"), []byte("three"))
	if e, err := scan(data).Resync(3); err != nil || e.Seq != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := scan(data).Resync(4); err != io.EOF {
		t.Error(err)
	}
}

// zeroReader is a file of zeros.
type zeroReader struct{}

func (zeroReader) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func TestResyncOverZerosEnds(t *testing.T) {
	const size = 256 << 20
	start := time.Now()
	s := NewScanner(zeroReader{}, testSalt, 0, size)
	if _, err := s.Resync(1); err != io.EOF || s.Offset() != size {
		t.Error(err)
	}
	t.Logf("256 MiB of zeros took %v", time.Since(start))
}

func BenchmarkResyncZeros(b *testing.B) {
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, err := NewScanner(zeroReader{}, testSalt, 0, 256<<20).Resync(1); err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanner(b *testing.B) {
	values := make([][]byte, 1<<16)
	for i := range values {
		values[i] = make([]byte, 128)
	}
	data, _ := logOf(values...)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s := scan(data)
		for range values {
			if _, err := s.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// hostileWord, repeated, looks like the header of a record with a key of 65,535 bytes at every offset.
var hostileWord = []byte{1, 0, 0, 0, 0xff, 0xff, 0, 0}

func TestResyncFindsALongKeyBehindFalseHeaders(t *testing.T) {
	key := strings.Repeat(string(hostileWord), MaxKeySize/len(hostileWord))
	data := bytes.Repeat(hostileWord, 3*scanWindow/2/len(hostileWord))
	offset := int64(len(data))
	data = append(data, encode(Placement{Salt: testSalt, Offset: offset, Seq: 1 << 60}, key, "value", 0)...)
	data = append(data, bytes.Repeat(hostileWord, 1<<10)...)
	s := scan(data)
	if e, err := s.Resync(1); err != nil || e.Offset != offset || string(e.Key) != key || !e.ValueOK {
		t.Errorf("at %d, want %d: %v", e.Offset, offset, err)
	}
	if _, err := s.Resync(1); err != io.EOF {
		t.Error(err)
	}
}

func BenchmarkResyncFalseHeaders(b *testing.B) {
	data := bytes.Repeat(hostileWord, 16<<20/len(hostileWord))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := scan(data).Resync(1); err != io.EOF {
			b.Fatal(err)
		}
	}
}

// Behind zeros, however many, a scan finds a record where it is.
func TestScanFindsARecordBehindZeros(t *testing.T) {
	for zeros := 8; zeros < 700; zeros += 8 {
		file := make([]byte, zeros)
		file = append(file, encode(Placement{Salt: testSalt, Offset: int64(zeros), Seq: 5}, "key", "value", 0)...)
		file = append(file, make([]byte, 2*scanWindow)...)
		s := NewScanner(bytes.NewReader(file), testSalt, 0, int64(len(file)))
		if e, err := s.Resync(1); err != nil || e.Offset != int64(zeros) || e.Seq != 5 {
			t.Fatalf("behind %d zeros: %+v, %v", zeros, e, err)
		}
		if e, err := s.Resync(1); err == nil {
			t.Fatalf("behind that: %+v", e)
		}
	}
}
