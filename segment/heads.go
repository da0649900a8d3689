package segment

import (
	"encoding/binary"
	"io"

	"github.com/mmapkv/mmapkv/internal/bulk"
)

// HeadWalker reads the heads of records, that is everything except their values, in ranges of a
// file. Like Walker, it uses ReadAt rather than the mapping. Not for concurrent use.
type HeadWalker struct {
	r     io.ReaderAt
	salt  uint64
	limit int64 // where the file's records end

	window   []byte
	windowAt int64
}

// Reset makes the walker read another file, whose records end at limit.
func (w *HeadWalker) Reset(r io.ReaderAt, salt uint64, limit int64) {
	w.r, w.salt, w.limit, w.window = r, salt, limit, w.window[:0]
}

// Walk calls fn with each record that begins in the bytes [from, to). A record must begin at from.
// Walk reads up to ahead in one call, for the ranges that are walked next. The record's key is
// valid until fn returns, and its value is nil. On an error Walk stops and returns the offset of
// the record that failed: ErrBounds or ErrChecksum mean that it does not validate, other errors
// come from reading.
func (w *HeadWalker) Walk(from, to, ahead int64, fn func(offset int64, r *Record)) (offset int64, err error) {
	var r Record
	for offset = from; offset < min(to, w.limit); offset += r.Size {
		if err := w.decode(&r, offset, ahead); err != nil {
			return offset, err
		}
		fn(offset, &r)
	}
	return offset, nil
}

// decode decodes the head of the record at an offset.
func (w *HeadWalker) decode(r *Record, offset, ahead int64) error {
	header, err := w.peek(offset, RecordHeaderSize, ahead)
	if err != nil {
		return err
	}
	size := RecordHeaderSize + Flags(header[flagsAt]).extension() + int(binary.LittleEndian.Uint16(header[keySizeAt:]))
	head, err := w.peek(offset, int64(size), ahead)
	if err != nil {
		return err
	}
	r.Value = nil
	_, _, err = decodeHead(r, head, w.limit-offset, w.salt, offset)
	return err
}

// peek returns at least n bytes of the file, starting at offset.
func (w *HeadWalker) peek(offset, n, ahead int64) ([]byte, error) {
	left := w.limit - offset
	if offset < 0 || n > left {
		return nil, ErrBounds
	}
	if at := offset - w.windowAt; at >= 0 && at+n <= int64(len(w.window)) {
		return w.window[at:], nil
	}
	size := max(n, min(ahead-offset, left))
	w.window = bulk.Grow(w.window[:0], int(size))[:size]
	w.windowAt = offset
	read, err := w.r.ReadAt(w.window, offset)
	w.window = w.window[:read]
	if n > int64(read) {
		return nil, missing(err)
	}
	return w.window, nil
}
