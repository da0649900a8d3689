package segment

import (
	"errors"
	"hash/crc32"
	"io"

	"github.com/mmapkv/mmapkv/internal/bulk"
)

// Walker reads records that are known to be there, one after the other through a window. It uses ReadAt
// rather than the mapping: a page fault could block other goroutines. Not for concurrent use.
type Walker struct {
	r      io.ReaderAt
	salt   uint64
	offset int64 // of the next record
	to     int64

	window   []byte
	windowAt int64
}

// walkWindow is how many bytes a Walker reads at a time. Any header fits into it with its key.
const walkWindow = 256 << 10

// NewWalker returns a Walker over the records in the bytes [from, to) of a file.
func NewWalker(r io.ReaderAt, salt uint64, from, to int64) *Walker {
	return &Walker{r: r, salt: salt, offset: from, to: to, windowAt: from}
}

// Offset is where Next looks.
func (w *Walker) Offset() int64 { return w.offset }

// Next decodes the record at Offset into r and moves past it. It returns io.EOF at the end. If no
// record validates at Offset, it returns ErrBounds or ErrChecksum and does not move; other errors
// come from reading. r aliases the window until the next call. Next does not check the value, and
// leaves a long one nil: Load reads it.
func (w *Walker) Next(r *Record) error {
	left := w.to - w.offset
	if left <= 0 {
		return io.EOF
	}
	if left < RecordHeaderSize {
		return ErrBounds
	}
	if err := w.ensure(RecordHeaderSize); err != nil {
		return err
	}
	size := sizeFromHeader(w.window[w.offset-w.windowAt:])
	if size > left {
		return ErrBounds
	}
	if err := w.ensure(min(size, walkWindow)); err != nil {
		return err
	}
	data := w.window[w.offset-w.windowAt:]
	var err error
	if size <= walkWindow {
		err = Decode(r, data[:size], w.salt, w.offset)
	} else {
		r.Value = nil
		_, _, err = decodeHead(r, data, size, w.salt, w.offset)
	}
	if err == nil {
		w.offset += size
	}
	return err
}

// Pass moves past the record at Offset by the size that its header says. It verifies nothing but
// that the record fits, and if it does not, Pass does not move.
func (w *Walker) Pass() error {
	left := w.to - w.offset
	if left < RecordHeaderSize {
		return ErrBounds
	}
	if err := w.ensure(RecordHeaderSize); err != nil {
		return err
	}
	size := sizeFromHeader(w.window[w.offset-w.windowAt:])
	if size > left {
		return ErrBounds
	}
	w.offset += size
	return nil
}

// MoveTo makes Next look at an offset.
func (w *Walker) MoveTo(offset int64) {
	if offset < w.windowAt {
		w.window, w.windowAt = w.window[:0], offset
	}
	w.offset = offset
}

// Load reads the value of r if Next left it out.
func (w *Walker) Load(r *Record) error {
	if r.Size <= walkWindow {
		return nil
	}
	w.offset -= r.Size
	err := w.ensure(r.Size)
	if err == nil {
		err = Decode(r, w.window[w.offset-w.windowAt:][:r.Size], w.salt, w.offset)
	}
	w.offset += r.Size
	return err
}

// ensure makes the window hold n bytes starting at Offset.
func (w *Walker) ensure(n int64) error {
	from := w.offset - w.windowAt
	if from+n <= int64(len(w.window)) {
		return nil
	}
	size := min(max(n, walkWindow), w.to-w.offset)
	if n > walkWindow {
		// Read the last byte first, so that a file that was cut costs no allocation.
		var last [1]byte
		if _, err := w.r.ReadAt(last[:], w.offset+n-1); err != nil {
			return missing(err)
		}
	}
	w.window = bulk.Grow(w.window[:0], int(size))[:size]
	w.windowAt = w.offset
	read, err := w.r.ReadAt(w.window, w.offset)
	w.window = w.window[:read]
	if n <= int64(read) {
		return nil
	}
	return missing(err)
}

// missing is the error of a read that returned too few bytes.
func missing(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return ErrBounds
	}
	return err
}

// AppendCopy appends the record to dst, encoded for an offset of another file: the same key,
// value, sequence number and expiry, without what concerns only the log. If the value does not
// match its checksum, or is missing, AppendCopy appends nothing and ok is false: damage must not
// get a fresh checksum.
func (r *Record) AppendCopy(dst []byte, salt uint64, offset int64) (out []byte, ok bool) {
	sum := crc32.Update(0, castagnoli, r.Value)
	if r.valueSum != seal(sum, r.salt, r.offset, roleValue) {
		return dst, false
	}
	return appendRecord(dst, r, r.Flags&Expires, r.Value, sum, salt, offset), true
}

// AppendTombstone appends to dst a tombstone with the record's key and sequence number.
func (r *Record) AppendTombstone(dst []byte, salt uint64, offset int64) []byte {
	return appendRecord(dst, r, Tombstone, nil, 0, salt, offset)
}

func appendRecord(dst []byte, r *Record, flags Flags, value []byte, rawSum uint32, salt uint64, offset int64) []byte {
	size := RecordSize(len(r.Key), int64(len(value)), flags)
	at := len(dst)
	dst = bulk.Grow(dst, int(size))[:at+int(size)]
	record := dst[at:]
	keyAt := RecordHeaderSize + flags.extension()
	valueAt := keyAt + copy(record[keyAt:], r.Key)
	clear(record[valueAt+bulk.Copy(record[valueAt:], value):])
	encodeHead(record[:valueAt], flags, len(r.Key), uint32(len(value)), rawSum, r.Expiry, r.Seq, offset, Placement{Salt: salt})
	return dst
}
