package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestPartialGolden(t *testing.T) {
	golden(t, "partial", examplePartial())
	p, err := openPartial(readGolden(t, "partial"), 7, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	if p.Range != (Range{From: End{Offset: 64}, To: End{Offset: 96, Seq: 1}, Last: 64}) || p.Len() != 1 || p.Records() != 1 {
		t.Errorf("%+v", p)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

func openPartial(data []byte, id ID, salt uint64) (*Partial, error) {
	return OpenPartial(bytes.NewReader(data), int64(len(data)), id, salt, nil)
}

// partialOf is a partial hint of the records of a file.
func partialOf(t testing.TB, file []byte, from, size int64, limit int) (*HintBuilder, Range) {
	t.Helper()
	b, r, err := BuildPartial(bytes.NewReader(file), testSalt, from, size, int64(limit), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

// batches is the records of some batches, and where each batch ends.
func batches(sizes ...int) (file []byte, ends []int64) {
	file = make([]byte, HeaderSize)
	seq := uint64(10)
	for n, size := range sizes {
		var d Draft
		for i := range size {
			d.Put(fmt.Append(nil, "key ", n, i), fmt.Append(nil, "value ", i), 0)
		}
		p := Placement{Salt: testSalt, Offset: int64(len(file)), Seq: seq}
		if n == 0 {
			p.Previous = &End{Offset: 4096, Seq: 9}
		}
		file = append(file, d.Finish(p)...)
		seq += uint64(size)
		ends = append(ends, int64(len(file)))
	}
	return file, ends
}

// However many bytes are asked for, a partial hint ends where a commit ends, and not before they are
// covered, unless the limit comes first.
func TestPartialEndsWhereACommitEnds(t *testing.T) {
	file, ends := batches(1, 5, 2, 1, 9, 3)
	for size := int64(1); size < ends[5]; size++ {
		at, seq := int64(HeaderSize), uint64(9)
		for at < ends[5] {
			_, r := partialOf(t, file, at, size, len(file))
			want := ends[slices.IndexFunc(ends, func(end int64) bool { return end >= min(at+size, ends[5]) })]
			if r.From != (End{at, seq}) || r.To.Offset != want || r.To.Seq <= seq {
				t.Fatalf("%d bytes from %d: %+v, want an end at %d", size, at, r, want)
			}
			if first := r.Previous == (End{4096, 9}); first != (at == HeaderSize) {
				t.Fatalf("the part at %d says that the file before ends at %+v", at, r.Previous)
			}
			at, seq = r.To.Offset, r.To.Seq
		}
		if seq != 9+21 {
			t.Fatalf("%d records", seq-9)
		}
	}
	if _, _, err := BuildPartial(bytes.NewReader(file), testSalt, HeaderSize, 1<<20, ends[1]-40, nil); err == nil {
		t.Error("a partial hint ends inside a batch")
	}
}

func TestPartialOfRecordsWithAGap(t *testing.T) {
	file, ends := batches(2)
	var d Draft
	d.Put([]byte("key"), []byte("value"), 0)
	file = append(file, d.Finish(Placement{Salt: testSalt, Offset: ends[0], Seq: 13})...)
	if _, r, err := BuildPartial(bytes.NewReader(file), testSalt, HeaderSize, 1<<20, int64(len(file)), nil); err == nil {
		t.Errorf("record 12 is missing in %+v", r)
	}
}

func TestPartialOfDamagedRecords(t *testing.T) {
	file, ends := batches(1, 5, 2)
	for at := HeaderSize + 8; at < int(ends[2]); at += 32 {
		bad := bytes.Clone(file)
		bad[at] ^= 1
		b, r, err := BuildPartial(bytes.NewReader(bad), testSalt, HeaderSize, 1<<20, ends[2], nil)
		if err == nil && (b.Len() != 8 || r.To != End{ends[2], 17}) {
			t.Errorf("a bad byte at %d: %d records, %+v", at, b.Len(), r)
		}
	}
}

// What a partial hint says is believed only of the segment, and of the range, that it was written for.
func TestPartialIsBound(t *testing.T) {
	file, ends := batches(3, 5, 2)
	b, r := partialOf(t, file, HeaderSize, 1, len(file))
	data := b.EncodePartial(7, testSalt, r)
	if p, err := openPartial(data, 7, testSalt); err != nil || p.Range != r || p.Check() != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := openPartial(data, 8, testSalt); !errors.Is(err, ErrHint) {
		t.Errorf("of another segment: %v", err)
	}
	if _, err := openPartial(data, 7, testSalt+1); !errors.Is(err, ErrHint) {
		t.Errorf("of another salt: %v", err)
	}
	if _, err := OpenTableIn(data[partialHeaderSize:], 7, testSalt, nil); err == nil {
		t.Error("the table of a partial hint is taken for a hint")
	}
	other, second := partialOf(t, file, ends[0], 1, len(file))
	tail := other.EncodePartial(7, testSalt, second)[partialHeaderSize:]
	if _, err := openPartial(slices.Concat(data[:partialHeaderSize], tail), 7, testSalt); !errors.Is(err, ErrHint) {
		t.Errorf("with the table of another range: %v", err)
	}
	for n := range data {
		if _, err := openPartial(data[:n], 7, testSalt); err == nil {
			t.Errorf("cut to %d bytes it is accepted", n)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 0x10
		p, err := openPartial(bad, 7, testSalt)
		if err == nil && p.Check() == nil {
			t.Errorf("a bad byte at %d is not noticed", n)
		}
	}
	newer := bytes.Clone(data)
	binary.LittleEndian.PutUint32(newer[partialVersionAt:], partialVersion+1)
	if _, err := openPartial(newer, 7, testSalt); !errors.Is(err, ErrVersion) {
		t.Errorf("of a newer version: %v", err)
	}
}

// A range is in the file that has its last record, and not in an older copy or another file.
func TestPartialIsInItsFile(t *testing.T) {
	file, ends := batches(3, 5, 2)
	_, r := partialOf(t, file, HeaderSize, 1<<20, len(file))
	older := append(bytes.Clone(file[:ends[1]]), make([]byte, 4096)...)
	if !r.IsIn(bytes.NewReader(file), testSalt) || r.IsIn(bytes.NewReader(older), testSalt) || r.IsIn(bytes.NewReader(file), testSalt+1) {
		t.Error("the range is taken to be where it is not, or not where it is")
	}
}

// Ranges that no writer covers are refused, even with the right checksums.
func TestPartialOfImpossibleRanges(t *testing.T) {
	sound := Range{From: End{64, 9}, To: End{192, 11}, Previous: End{4096, 9}, Last: 128}
	encode := func(r Range, change func(*HintBuilder)) []byte {
		b := NewHintBuilder()
		b.Add(Entry{Offset: 64, Size: 64, Seq: 10, Key: []byte("a")})
		b.Add(Entry{Offset: 128, Size: 64, Seq: 11, Key: []byte("b")})
		change(b)
		return b.EncodePartial(7, testSalt, r)
	}
	same := func(*HintBuilder) {}
	if _, err := openPartial(encode(sound, same), 7, testSalt); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *Range){
		"begins in the header":          func(r *Range) { r.From.Offset = 56 },
		"ends before it begins":         func(r *Range) { r.To.Offset = 64 },
		"begins at an odd place":        func(r *Range) { r.From.Offset = 66 },
		"ends at an odd place":          func(r *Range) { r.To.Offset = 193 },
		"is longer than any file":       func(r *Range) { r.To.Offset = MaxFileSize + 8 },
		"has no records":                func(r *Range) { r.From.Seq, r.Previous.Seq = 11, 0 },
		"has more than fit":             func(r *Range) { r.To.Seq = 100 },
		"has fewer than are in it":      func(r *Range) { r.From.Seq = 10 },
		"goes beyond all numbers":       func(r *Range) { r.From.Seq, r.To.Seq = MaxSeq, MaxSeq+2 },
		"has its last record before it": func(r *Range) { r.Last = 56 },
		"has its last record after it":  func(r *Range) { r.Last = 192 },
		"follows a later file":          func(r *Range) { r.Previous.Seq = 10 },
		"follows a negative end":        func(r *Range) { r.Previous.Offset = -8 },
		"follows an endless file":       func(r *Range) { r.Previous.Offset = MaxFileSize + 8 },
	} {
		r := sound
		change(&r)
		if _, err := openPartial(encode(r, same), 7, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("a partial hint that %s: %v", name, err)
		}
	}
	damaged := encode(sound, func(b *HintBuilder) { b.AddDamage(Damage{64, 64}) })
	if _, err := openPartial(damaged, 7, testSalt); !errors.Is(err, ErrHint) {
		t.Errorf("a partial hint with a damaged range: %v", err)
	}
}
