package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

// written returns a file with the given values, each in a write of its own.
func written(t *testing.T, salt uint64, values ...[]byte) []byte {
	t.Helper()
	file := make([]byte, HeaderSize)
	for i, value := range values {
		var d Draft
		d.Put(fmt.Appendf(nil, "key-%d", i), value, int64(i%2)*1234)
		p := Placement{Salt: salt, Offset: int64(len(file)), Seq: uint64(i + 1), Watermark: 7, HasWatermark: true}
		file = append(file, d.Finish(p)...)
	}
	return file
}

func TestWalkerReadsRecordsOfEverySize(t *testing.T) {
	var values [][]byte
	for _, size := range []int{0, 1, 100, walkWindow - 60, walkWindow, 3*walkWindow + 5, 0, 12} {
		values = append(values, bytes.Repeat([]byte{byte(size)}, size))
	}
	file := written(t, 99, values...)
	w := NewWalker(bytes.NewReader(file), 99, HeaderSize, int64(len(file)))
	var r Record
	for i, want := range values {
		if err := w.Next(&r); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if long := r.Size > walkWindow; long && r.Value != nil {
			t.Fatalf("record %d of %d bytes has a value after Next, which should leave it to Load", i, r.Size)
		}
		if err := w.Load(&r); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if r.Seq != uint64(i+1) || !bytes.Equal(r.Value, want) || !r.ValueOK() {
			t.Fatalf("record %d has sequence number %d and %d bytes", i, r.Seq, len(r.Value))
		}
	}
	if err := w.Next(&r); err != io.EOF {
		t.Errorf("after the last record: %v", err)
	}
}

func TestWalkerStopsAtDamage(t *testing.T) {
	file := written(t, 99, []byte("first"), []byte("second"))
	second := int64(len(file)) / 2
	for at := range file {
		if at < HeaderSize {
			continue
		}
		broken := bytes.Clone(file)
		broken[at] ^= 0x41
		w := NewWalker(bytes.NewReader(broken), 99, HeaderSize, int64(len(broken)))
		var r Record
		var err error
		valuesOK := true
		for err == nil {
			if err = w.Next(&r); err == nil {
				valuesOK = valuesOK && r.ValueOK()
			}
		}
		padding := err == io.EOF && valuesOK
		if padding && !isPadding(file, int64(at)) {
			t.Errorf("damage to the byte at %d (the second record is near %d) goes unnoticed", at, second)
		}
		if err != io.EOF && !errors.Is(err, ErrBounds) && !errors.Is(err, ErrChecksum) {
			t.Errorf("the byte at %d: %v", at, err)
		}
	}
	// A truncated file.
	w := NewWalker(bytes.NewReader(file[:len(file)-8]), 99, HeaderSize, int64(len(file)))
	var r Record
	if err := errors.Join(w.Next(&r)); err != nil {
		t.Fatal(err)
	}
	if err := w.Next(&r); !errors.Is(err, ErrBounds) {
		t.Errorf("truncated: %v", err)
	}
}

// The headers of a truncated file promise long values that it no longer has.
func TestWalkerAllocatesNothingForWhatIsNotThere(t *testing.T) {
	const long = 64 << 20
	file := written(t, 99, make([]byte, long))
	to := int64(len(file))
	w := NewWalker(bytes.NewReader(file[:4096]), 99, HeaderSize, to)
	var r Record
	if err := w.Next(&r); !errors.Is(err, ErrBounds) || cap(w.window) > 2*walkWindow {
		t.Errorf("%v, with a window of %d bytes", err, cap(w.window))
	}
	// Truncated after the window: the head is there, but the value is not.
	w = NewWalker(bytes.NewReader(file[:2*walkWindow]), 99, HeaderSize, to)
	if err := w.Next(&r); err != nil {
		t.Fatal(err)
	}
	if err := w.Load(&r); !errors.Is(err, ErrBounds) || cap(w.window) > 2*walkWindow {
		t.Errorf("%v, with a window of %d bytes", err, cap(w.window))
	}
}

// isPadding reports whether the byte is padding, which no checksum covers.
func isPadding(file []byte, at int64) bool {
	w := NewWalker(bytes.NewReader(file), 99, HeaderSize, int64(len(file)))
	var r Record
	for w.Next(&r) == nil {
		end := w.Offset()
		pad := r.Size - int64(RecordHeaderSize+r.Flags.extension()+len(r.Key)+len(r.Value))
		if at >= end-pad && at < end {
			return true
		}
	}
	return false
}

func TestAppendCopyKeepsTheRecord(t *testing.T) {
	file := written(t, 99, []byte("some value"), []byte("expires"))
	w := NewWalker(bytes.NewReader(file), 99, HeaderSize, int64(len(file)))
	out := make([]byte, 128)
	var r, again Record
	for range 2 {
		if err := w.Next(&r); err != nil {
			t.Fatal(err)
		}
		at := int64(len(out))
		copied, ok := r.AppendCopy(out, 5, at)
		if !ok {
			t.Fatal("a good record is not copied")
		}
		out = copied
		if err := Decode(&again, out[at:], 5, at); err != nil {
			t.Fatal(err)
		}
		if again.Seq != r.Seq || again.Expiry != r.Expiry || !bytes.Equal(again.Key, r.Key) || !bytes.Equal(again.Value, r.Value) || !again.ValueOK() {
			t.Errorf("copied %+v as %+v", r, again)
		}
		if again.Flags&^Expires != 0 {
			t.Errorf("the copy has flags %b", again.Flags)
		}
		at = int64(len(out))
		out = r.AppendTombstone(out, 5, at)
		if err := Decode(&again, out[at:], 5, at); err != nil || again.Flags != Tombstone || again.Seq != r.Seq || !bytes.Equal(again.Key, r.Key) {
			t.Errorf("the tombstone is %+v, %v", again, err)
		}
	}
	r.Value[0] ^= 1
	if same, ok := r.AppendCopy(out, 5, 0); ok || len(same) != len(out) {
		t.Error("a damaged value is copied")
	}
}
