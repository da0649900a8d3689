package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// longHint is a hint of several pieces, with short and long keys and with damaged ranges.
func longHint() []byte {
	b := NewHintBuilder()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		key := fmt.Append(nil, "key ", i, " ")
		if i%1000 == 0 {
			key = append(key, make([]byte, random.IntN(MaxKeySize-len(key)))...)
		}
		e := Entry{Offset: 64 + 40*int64(i), Size: 40, Seq: uint64(i + 1), Key: key}
		if i%7 == 0 {
			e.Flags, e.Expiry = Expires, int64(i)
		}
		b.Add(e)
	}
	for i := range 1000 {
		b.AddDamage(Damage{64 + 80*int64(i), 40})
	}
	return b.Encode(testHintID, testSalt, End{1 << 30, 20_000}, 7)
}

func openTable(t *testing.T, data []byte) *Table {
	t.Helper()
	h, err := OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A table yields the same entries whether it is read in pieces or lies in memory.
func TestTableByPieces(t *testing.T) {
	data := longHint()
	whole, err := parseHint(data, testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	h := openTable(t, data)
	if h.Pieces() < 4 {
		t.Fatalf("%d pieces", h.Pieces())
	}
	if h.count != whole.Len() || h.Covers != whole.Covers || h.Watermark != 7 || len(h.Damages()) != 1000 || h.Damages()[999] != whole.Damages()[999] {
		t.Errorf("%d keys up to %v, watermark %d, %d damages", h.count, h.Covers, h.Watermark, len(h.Damages()))
	}
	if h.Size() != HintSize(data) {
		t.Errorf("size %d, but HintSize is %d", h.Size(), HintSize(data))
	}
	i := 0
	for e, err := range h.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if !sameEntry(e, whole.entries[i]) {
			t.Fatalf("entry %d is %v, not %v", i, e, whole.entries[i])
		}
		i++
	}
	if i != whole.Len() {
		t.Errorf("got %d entries, want %d", i, whole.Len())
	}
	for range h.Entries() {
		break
	}
}

// A table that changed since it was opened yields no unchecked entries. If reading fails, Entries
// yields the error.
func TestTableThatChangesWhileItIsRead(t *testing.T) {
	data := longHint()
	for i := range 200 {
		h := openTable(t, data)
		at := hintHeaderSize + i*(int(h.partsEnd)-hintHeaderSize)/200
		data[at] ^= 1 << (i % 8)
		if err := readAll(h); !errors.Is(err, ErrHint) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		data[at] ^= 1 << (i % 8)
	}
	h := openTable(t, data)
	h.r = bytes.NewReader(data[:len(data)/2])
	if err := readAll(h); !errors.Is(err, ErrHint) {
		t.Errorf("truncated: %v", err)
	}
	broken := errors.New("broken")
	h.r = failingReader{broken}
	if err := readAll(h); !errors.Is(err, broken) {
		t.Errorf("unreadable: %v", err)
	}
}

func readAll(h *Table) error {
	for _, err := range h.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// If any read fails while a hint is opened, OpenTable returns the error of that read.
func TestOpenTableReturnsErrorsOfReading(t *testing.T) {
	data := longHint()
	broken := errors.New("broken")
	for n := 0; ; n++ {
		r := &breakingReader{bytes.NewReader(data), n, broken}
		_, err := OpenTable(r, int64(len(data)), testHintID, testSalt, nil)
		if err == nil {
			if n < 5 { // header, directory, common prefix, damaged ranges, checksum
				t.Errorf("OpenTable read the hint in only %d calls", n)
			}
			return
		}
		if !errors.Is(err, broken) {
			t.Fatalf("call %d fails: %v", n, err)
		}
	}
}

// breakingReader fails after the given number of calls.
type breakingReader struct {
	io.ReaderAt
	calls int
	err   error
}

func (r *breakingReader) ReadAt(b []byte, at int64) (int, error) {
	if r.calls == 0 {
		return 0, r.err
	}
	r.calls--
	return r.ReaderAt.ReadAt(b, at)
}

// The pause is called between reads, while a table is opened and while it is read.
func TestTablePauses(t *testing.T) {
	data := longHint()
	pauses := 0
	h, err := OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, func() { pauses++ })
	if err != nil {
		t.Fatal(err)
	}
	if pauses < 3 {
		t.Errorf("%d pauses while it was opened", pauses)
	}
	pauses = 0
	if err := readAll(h); err != nil || pauses != h.Pieces() {
		t.Errorf("%d pauses in %d pieces, %v", pauses, h.Pieces(), err)
	}
}

// partsHint is a hint of several parts, with all that an entry can have: keys that share a prefix
// and keys that do not, the empty key, one that is longer than a part, tombstones and expiries.
func partsHint() []byte {
	b := NewHintBuilder()
	offset := int64(HeaderSize)
	add := func(key []byte, flags Flags, expiry int64) {
		size := RecordSize(len(key), 0, flags)
		b.Add(Entry{Offset: offset, Size: size, Seq: uint64(1000 + offset), Key: key, Flags: flags, Expiry: expiry})
		offset += size
	}
	add(nil, 0, 0)
	add(bytes.Repeat([]byte("long"), 1500), 0, 0)
	add([]byte("gone"), Tombstone, 0)
	for i := range 70 {
		add(fmt.Appendf(nil, "user:%08d", 7*i), 0, 0)
	}
	add([]byte("user:00000099"), Expires, 1_700_000_000_000)
	b.AddDamage(Damage{offset, 64})
	return b.Encode(testHintID, testSalt, End{offset + 64, 9000}, 8000)
}

func TestHintOfPartsGolden(t *testing.T) {
	golden(t, "hint-parts", partsHint())
	h, err := parseHint(readGolden(t, "hint-parts"), testHintID, testSalt)
	if err != nil || h.Len() != 74 || h.Parts() != 5 {
		t.Fatalf("%d entries in %d parts, %v", h.Len(), h.Parts(), err)
	}
	if e, ok := h.find([]byte("user:00000099")); !ok || e.Flags != Expires || e.Expiry != 1_700_000_000_000 {
		t.Errorf("%+v, %v", e, ok)
	}
	if e, ok := h.find([]byte("gone")); !ok || e.Flags != Tombstone {
		t.Errorf("%+v, %v", e, ok)
	}
	if e, ok := h.find([]byte{}); !ok || e.Offset != HeaderSize {
		t.Errorf("%+v, %v", e, ok)
	}
}

// Whichever bit is flipped, before or after the table was opened: nothing is read that was not
// written, and each entry either is read or its part is said to be damaged.
func TestTableNoticesEveryFlippedBit(t *testing.T) {
	data := partsHint()
	whole, err := parseHint(data, testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		h, err := OpenTableIn(data, testHintID, testSalt, nil)
		if inParts := bit/8 >= hintHeaderSize && int64(bit/8) < whole.partsEnd; (err == nil) != inParts {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
		if err != nil && !errors.Is(err, ErrHint) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
		if err == nil {
			parts++
			wantRest(t, h, whole.entries, int64(bit/8))
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	if parts != 8*int(whole.partsEnd-hintHeaderSize) {
		t.Errorf("%d bits of parts", parts)
	}
	for n := range data {
		if _, err := OpenTableIn(data[:n], testHintID, testSalt, nil); !errors.Is(err, ErrHint) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// wantRest expects of a table with one damaged part, at some place in the file, that it says so and
// yields the entries of the others.
func wantRest(t *testing.T, h *Table, whole []HintEntry, damaged int64) {
	t.Helper()
	part := 0
	for h.partPlace(part+1) <= damaged {
		part++
	}
	got, failed := 0, 0
	for e, err := range h.Entries() {
		var bad *HintError
		switch {
		case err == nil:
			if !sameEntry(e, whole[got]) {
				t.Fatalf("byte %d is damaged: entry %d is %v, not %v", damaged, got, e, whole[got])
			}
			got++
		case !errors.As(err, &bad) || bad.Place != h.partPlace(part) || !errors.Is(err, ErrHint):
			t.Fatalf("byte %d is damaged: %v", damaged, err)
		default:
			failed++
			got = h.firstEntry(part + 1)
		}
	}
	if got != len(whole) || failed != 1 {
		t.Fatalf("byte %d is damaged: %d entries, %d parts", damaged, got, failed)
	}
	var p Part
	if err := h.Part(part, &p); !errors.Is(err, ErrHint) {
		t.Fatalf("byte %d is damaged: its part is read, %v", damaged, err)
	}
}

// A part validates only in its place, in the hint of its segment that covers as much.
func TestPartBelongsToItsHint(t *testing.T) {
	encode := func(id ID, salt uint64, end int64) []byte {
		b := NewHintBuilder()
		for i := range 100 {
			b.Add(Entry{Offset: HeaderSize + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: fmt.Append(nil, "key", 100+i)})
		}
		return b.Encode(id, salt, End{end, 200}, 1)
	}
	ours := encode(testHintID, testSalt, 1<<20)
	h, err := OpenTableIn(ours, testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	from, to := h.partPlace(1), h.partPlace(2)
	for what, other := range map[string][]byte{
		"of another segment":              encode(testHintID+1, testSalt, 1<<20),
		"of a segment with another salt":  encode(testHintID, testSalt+1, 1<<20),
		"of when the segment was shorter": encode(testHintID, testSalt, 1<<20-8),
		"of another place":                append(make([]byte, from), ours[h.partPlace(0):]...),
	} {
		// The directory comes from the other hint as well: only what the part is tied to tells.
		mixed := bytes.Clone(ours)
		copy(mixed[from:to], other[from:])
		line := h.partsEnd + directorySize + prefixSize + 8
		if what == "of another place" {
			copy(mixed[line:line+4], ours[line-directorySize:])
		} else {
			copy(mixed[line:line+4], other[line:])
		}
		end := len(mixed) - hintSumSize
		sum := crc32.Update(crc32.Checksum(mixed[:hintHeaderSize], castagnoli), castagnoli, mixed[h.partsEnd:end])
		binary.LittleEndian.PutUint32(mixed[end:], hintSeal(sum, testHintID, testSalt))
		forged, err := OpenTableIn(mixed, testHintID, testSalt, nil)
		if err != nil {
			t.Fatal(err)
		}
		var p Part
		if err := forged.Part(1, &p); !errors.Is(err, ErrHint) {
			t.Errorf("a part %s is read: %v", what, err)
		}
		if err := forged.Part(0, &p); err != nil {
			t.Error(err)
		}
	}
}

func TestOlderHintIsToldFromADamagedOne(t *testing.T) {
	for version := 1; version < hintVersion; version++ {
		data, err := os.ReadFile(filepath.Join("testdata", fmt.Sprint("v", version), "hint"))
		if err != nil {
			t.Fatal(err)
		}
		if !IsOlderHint(data, testHintID, testSalt) {
			t.Errorf("a hint of version %d is not one", version)
		}
		if IsOlderHint(data, testHintID+1, testSalt) || IsOlderHint(data, testHintID, testSalt+1) {
			t.Errorf("version %d: the hint of another segment is one", version)
		}
		for n := range data {
			data[n] ^= 1
			if IsOlderHint(data, testHintID, testSalt) || IsOlderHint(data[:n], testHintID, testSalt) {
				t.Errorf("version %d: with byte %d changed it still is one", version, n)
			}
			data[n] ^= 1
		}
	}
	if IsOlderHint(exampleHint(), testHintID, testSalt) {
		t.Error("a hint of this version is one")
	}
}
