package segment

import (
	"errors"
	"hash/crc32"
	"io"
	"slices"
)

// Walker reads the records of a sealed file one after the other, whole, through
// a window that is as large as the largest of them. It uses ReadAt and not the
// mapping, so that pages which are not in memory hold nobody up. Not for
// concurrent use.
type Walker struct {
	r      io.ReaderAt
	salt   uint64
	offset int64 // of the next record
	to     int64

	window   []byte
	windowAt int64
}

// walkWindow is how many bytes are read at a time.
const walkWindow = 256 << 10

// NewWalker reads the records in the bytes [from, to) of a file.
func NewWalker(r io.ReaderAt, salt uint64, from, to int64) *Walker {
	return &Walker{r: r, salt: salt, offset: from, to: to, windowAt: from}
}

// Offset is where Next looks.
func (w *Walker) Offset() int64 { return w.offset }

// Next decodes the record at Offset into r and moves behind it; io.EOF at the
// end. ErrBounds and ErrChecksum say, without moving, that there is no valid
// record; other errors are those of reading. r aliases the window until the next
// call; its value is not checked.
func (w *Walker) Next(r *Record) error {
	left := w.to - w.offset
	if left <= 0 {
		return io.EOF
	}
	if left < RecordHeaderSize {
		return ErrBounds
	}
	if err := w.have(RecordHeaderSize); err != nil {
		return err
	}
	size := sizeFromHeader(w.window[w.offset-w.windowAt:])
	if size > left {
		return ErrBounds
	}
	if err := w.have(size); err != nil {
		return err
	}
	if err := Decode(r, w.window[w.offset-w.windowAt:][:size], w.salt, w.offset); err != nil {
		return err
	}
	w.offset += r.Size
	return nil
}

// have makes the window hold n bytes from Offset on, which the file has.
func (w *Walker) have(n int64) error {
	from := w.offset - w.windowAt
	if from+n <= int64(len(w.window)) {
		return nil
	}
	size := min(max(n, walkWindow), w.to-w.offset)
	w.window = slices.Grow(w.window[:0], int(size))[:size]
	w.windowAt = w.offset
	read, err := w.r.ReadAt(w.window, w.offset)
	if read == len(w.window) {
		return nil
	}
	w.window = w.window[:read]
	if n <= int64(read) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return ErrBounds
	}
	return err
}

// AppendCopy appends to dst the record as it is written at the offset of another
// file: the same key, value, number and expiry, without what concerns only the
// log. ok is false, and nothing is appended, when the value does not match its
// checksum: damage must not get a fresh one.
func (r *Record) AppendCopy(dst []byte, salt uint64, offset int64) (out []byte, ok bool) {
	sum := crc32.Update(0, castagnoli, r.Value)
	if r.valueSum != seal(sum, r.salt, r.offset, roleValue) {
		return dst, false
	}
	return appendRecord(dst, r, r.Flags&Expires, r.Value, sum, salt, offset), true
}

// AppendTombstone appends to dst a tombstone with the record's key and number.
func (r *Record) AppendTombstone(dst []byte, salt uint64, offset int64) []byte {
	return appendRecord(dst, r, Tombstone, nil, 0, salt, offset)
}

func appendRecord(dst []byte, r *Record, flags Flags, value []byte, rawSum uint32, salt uint64, offset int64) []byte {
	size := RecordSize(len(r.Key), int64(len(value)), flags)
	at := len(dst)
	dst = slices.Grow(dst, int(size))[:at+int(size)]
	record := dst[at:]
	keyAt := RecordHeaderSize + flags.extension()
	valueAt := keyAt + copy(record[keyAt:], r.Key)
	clear(record[valueAt+copy(record[valueAt:], value):])
	encodeHead(record[:valueAt], flags, len(r.Key), uint32(len(value)), rawSum, r.Expiry, r.Seq, offset, Placement{Salt: salt})
	return dst
}
