package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

func openHint(t *testing.T, data []byte) *HintReader {
	t.Helper()
	h, err := OpenHint(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A HintReader yields the same entries as ParseHint.
func TestHintByPieces(t *testing.T) {
	data := longHint()
	whole, err := ParseHint(data, testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	h := openHint(t, data)
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
		if !sameEntry(e, whole.At(i)) {
			t.Fatalf("entry %d is %v, not %v", i, e, whole.At(i))
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

// A hint that changed since it was opened yields no unchecked entries. If reading fails, Entries
// yields the error.
func TestHintThatChangesWhileItIsRead(t *testing.T) {
	data := longHint()
	for i := range 200 {
		h := openHint(t, data)
		at := hintHeaderSize + i*(int(h.entriesEnd)-hintHeaderSize)/200
		data[at] ^= 1 << (i % 8)
		if err := readAll(h); !errors.Is(err, ErrHint) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		data[at] ^= 1 << (i % 8)
	}
	h := openHint(t, data)
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

func readAll(h *HintReader) error {
	for _, err := range h.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// If any read fails while a hint is opened, OpenHint returns the error of that read.
func TestOpenHintReturnsErrorsOfReading(t *testing.T) {
	data := longHint()
	broken := errors.New("broken")
	for n := 0; ; n++ {
		r := &breakingReader{bytes.NewReader(data), n, broken}
		_, err := OpenHint(r, int64(len(data)), testHintID, testSalt, nil)
		if err == nil {
			if n < 10 {
				t.Errorf("OpenHint read the hint in only %d calls", n)
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

// The pause is called between pieces, while a hint is checked and while it is read.
func TestHintReaderPauses(t *testing.T) {
	data := longHint()
	pauses := 0
	h, err := OpenHint(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, func() { pauses++ })
	if err != nil {
		t.Fatal(err)
	}
	if pauses < h.Pieces() {
		t.Errorf("%d pauses in %d pieces while it was checked", pauses, h.Pieces())
	}
	pauses = 0
	if err := readAll(h); err != nil || pauses != h.Pieces() {
		t.Errorf("%d pauses in %d pieces, %v", pauses, h.Pieces(), err)
	}
}
