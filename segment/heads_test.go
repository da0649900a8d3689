package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

// countedReader counts what is read.
type countedReader struct {
	io.ReaderAt
	calls, bytes int
}

func (r *countedReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, offset)
	r.calls, r.bytes = r.calls+1, r.bytes+n
	return n, err
}

func TestHeadWalkerReadsStretches(t *testing.T) {
	var values [][]byte
	for i := range 200 {
		values = append(values, make([]byte, i%7*10))
	}
	values[50] = make([]byte, 1<<20)
	file := written(t, 99, values...)
	var starts []int64
	limit := int64(len(file))
	w := NewWalker(bytes.NewReader(file), 99, HeaderSize, limit)
	for r := (Record{}); ; {
		at := w.Offset()
		if w.Next(&r) != nil {
			break
		}
		starts = append(starts, at)
	}
	for from := 0; from < len(starts); from += 30 {
		to := min(from+30, len(starts)-1)
		in := &countedReader{ReaderAt: bytes.NewReader(file)}
		var heads HeadWalker
		heads.Reset(in, 99, limit)
		next := from
		for _, part := range [][2]int{{from, (from + to) / 2}, {(from + to) / 2, to}} { // the first call has already read the second part
			_, err := heads.Walk(starts[part[0]], starts[part[1]], min(starts[from]+16<<10, starts[to]), func(offset int64, r *Record) {
				if offset != starts[next] || string(r.Key) != fmt.Sprint("key-", next) || r.Value != nil || r.Expiry != int64(next%2)*1234 {
					t.Fatalf("the record at %d is %q, which expires at %d", offset, r.Key, r.Expiry)
				}
				next++
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if next != to {
			t.Errorf("the walk from record %d ended at %d", from, next)
		}
		if long := from <= 50 && 50 < to; in.bytes > 32<<10 || !long && in.calls > 1 {
			t.Errorf("read %d bytes in %d calls for the records from %d on", in.bytes, in.calls, from)
		}
	}
}

func TestHeadWalkerStopsAtDamage(t *testing.T) {
	file := written(t, 99, []byte("first"), []byte("second"))
	second := int64(HeaderSize) + (int64(len(file))-HeaderSize)/2 - 4 // the second record has an expiry
	for at := range file[HeaderSize:] {
		broken := bytes.Clone(file)
		broken[HeaderSize+at] ^= 0x41
		var heads HeadWalker
		heads.Reset(bytes.NewReader(broken), 99, int64(len(file)))
		walked := 0
		failed, err := heads.Walk(HeaderSize, int64(len(file)), int64(len(file)), func(int64, *Record) { walked++ })
		switch {
		case err == nil && walked == 2: // the byte is in a value or in the padding
		case !errors.Is(err, ErrBounds) && !errors.Is(err, ErrChecksum), failed != HeaderSize && failed != second || failed == HeaderSize && walked > 0:
			t.Errorf("with the byte at %d damaged the walk ends at %d, after %d records: %v", HeaderSize+at, failed, walked, err)
		}
	}
	for size := range len(file) {
		var heads HeadWalker
		heads.Reset(bytes.NewReader(file[:size]), 99, int64(len(file)))
		if _, err := heads.Walk(second, int64(len(file)), int64(len(file)), func(int64, *Record) {}); err != nil && !errors.Is(err, ErrBounds) {
			t.Errorf("file truncated to %d bytes: %v", size, err)
		}
		heads.Reset(bytes.NewReader(file), 99, int64(size))
		if failed, err := heads.Walk(HeaderSize, int64(len(file)), int64(len(file)), func(int64, *Record) {}); size > HeaderSize && int64(size) < second && (failed != HeaderSize || !errors.Is(err, ErrBounds)) {
			t.Errorf("records end at %d: failed at %d, %v", size, failed, err)
		}
	}
}
