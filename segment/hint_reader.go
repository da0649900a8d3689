package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"iter"
)

// HintReader reads a hint in pieces, so that even the longest hint takes little memory. OpenHint
// checks the whole hint; each read of a piece checks that the piece has not changed since.
type HintReader struct {
	Covers    End    // where the file's records ended when the hint was written
	Watermark uint64 // all records up to it were on disk then

	r       io.ReaderAt
	pause   func()
	count   int // of entries
	keys    int64
	pieces  []hintPiece
	damages []Damage

	entriesEnd, directoryEnd, damagesEnd int64
	sum                                  uint32 // of all bytes before the directory
}

// hintPiece is where a piece begins, and the checksum of all bytes of the hint before it.
type hintPiece struct {
	at  int64
	sum uint32
}

// hintPieceSize is the size of a piece in bytes: small enough for a processor's caches, and larger
// than any entry.
const hintPieceSize = 256 << 10

// OpenHint reads a hint of size bytes once. It checks that the hint belongs to the segment and is
// what was written, and checks every length in it. The HintReader reads from r again for each
// piece. pause, if not nil, is called between pieces, and may block.
func OpenHint(r io.ReaderAt, size int64, id ID, salt uint64, pause func()) (*HintReader, error) {
	var header [hintHeaderSize]byte
	if size < hintHeaderSize+hintSumSize {
		return nil, ErrHint
	}
	if err := readHintAt(r, header[:], 0); err != nil {
		return nil, err
	}
	if err := checkHintHeader(header[:], id); err != nil {
		return nil, err
	}
	count, damages := binary.LittleEndian.Uint64(header[hintCountAt:]), uint64(binary.LittleEndian.Uint32(header[hintDamagesAt:]))
	left := uint64(size - hintHeaderSize - hintSumSize)
	if damages > left/damageSize || count > (left-damages*damageSize)/(minEntrySize+directorySize) {
		return nil, ErrHint
	}
	h := &HintReader{
		Covers:     End{int64(binary.LittleEndian.Uint64(header[hintCoversAt:])), binary.LittleEndian.Uint64(header[hintSeqAt:])},
		Watermark:  binary.LittleEndian.Uint64(header[hintWatermarkAt:]),
		r:          r,
		pause:      pause,
		count:      int(count),
		damagesEnd: size - hintSumSize,
		sum:        crc32.Checksum(header[:], castagnoli),
	}
	h.directoryEnd = h.damagesEnd - int64(damages)*damageSize
	h.entriesEnd = h.directoryEnd - int64(count)*directorySize
	if h.Covers.Offset < 0 {
		return nil, ErrHint
	}
	buf := make([]byte, min(hintPieceSize, size))
	if err := h.checkEntries(buf); err != nil {
		return nil, err
	}
	if uint64(h.keys) != binary.LittleEndian.Uint64(header[hintKeyBytesAt:]) {
		return nil, ErrHint
	}
	sum, err := h.checkRest(buf)
	if err != nil {
		return nil, err
	}
	if err := readHintAt(r, buf[:hintSumSize], h.damagesEnd); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint64(buf) != uint64(hintSeal(sum, id, salt)) {
		return nil, ErrHint
	}
	return h, nil
}

// checkEntries walks the entries. Each must begin where the directory says, fit, have a key above
// the previous one, lie in the covered part of the file, and set nothing that no builder sets.
// checkEntries also notes where pieces begin.
func (h *HintReader) checkEntries(buf []byte) error {
	directory := directoryReader{r: h.r, at: h.entriesEnd, end: h.directoryEnd}
	var previous []byte
	for at := int64(hintHeaderSize); at < h.entriesEnd; {
		piece := buf[:min(int64(len(buf)), h.entriesEnd-at)]
		if err := readHintAt(h.r, piece, at); err != nil {
			return err
		}
		key, rest := previous, piece
		for len(rest) > 0 {
			e, next, ok := cutEntry(rest)
			if !ok {
				break // it continues past the piece, or is invalid
			}
			place, err := directory.next()
			if err != nil {
				return err
			}
			taken := int64(len(piece) - len(rest))
			if place != at+taken || !h.inBounds(e) || place > hintHeaderSize && bytes.Compare(key, e.Key) >= 0 {
				return ErrHint
			}
			key, rest = e.Key, next
			h.keys += int64(len(key))
		}
		taken := piece[:len(piece)-len(rest)]
		if len(taken) == 0 {
			return ErrHint
		}
		previous = append(previous[:0], key...)
		h.pieces = append(h.pieces, hintPiece{at, h.sum})
		h.sum = crc32.Update(h.sum, castagnoli, taken)
		at += int64(len(taken))
		h.callPause()
	}
	if directory.left() {
		return ErrHint
	}
	return nil
}

// checkRest sums the bytes after the entries, and walks the damaged ranges: each must begin at or
// after the end of the previous one, and lie in the covered part of the file.
func (h *HintReader) checkRest(buf []byte) (sum uint32, err error) {
	sum = h.sum
	for at := h.entriesEnd; at < h.directoryEnd; {
		piece := buf[:min(int64(len(buf)), h.directoryEnd-at)]
		if err := readHintAt(h.r, piece, at); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, piece)
		at += int64(len(piece))
	}
	end := uint64(0) // of the previous damaged range
	for at := h.directoryEnd; at < h.damagesEnd; {
		piece := buf[:min(int64(len(buf)/damageSize*damageSize), h.damagesEnd-at)]
		if err := readHintAt(h.r, piece, at); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, piece)
		at += int64(len(piece))
		for ; len(piece) > 0; piece = piece[damageSize:] {
			offset, length := binary.LittleEndian.Uint64(piece), binary.LittleEndian.Uint64(piece[8:])
			if length == 0 || offset < end || (offset|end)%Alignment != 0 ||
				offset > uint64(h.Covers.Offset) || length > uint64(h.Covers.Offset)-offset {
				return 0, ErrHint
			}
			end = offset + length
			h.damages = append(h.damages, Damage{int64(offset), int64(length)})
		}
		h.callPause()
	}
	return sum, nil
}

// inBounds reports whether the record of an entry lies between the file's header and its end.
func (h *HintReader) inBounds(e HintEntry) bool {
	return e.Offset >= HeaderSize && e.Offset <= h.Covers.Offset && e.Size >= RecordHeaderSize && e.Size <= h.Covers.Offset-e.Offset
}

func (h *HintReader) callPause() {
	if h.pause != nil {
		h.pause()
	}
}

// directoryReader reads the places in a directory one after the other.
type directoryReader struct {
	r       io.ReaderAt
	at, end int64 // the part that was not read yet
	buf     []byte
	places  []byte // the part of buf that next has not returned yet
}

// directoryPiece is how many bytes of a directory are in memory at a time.
const directoryPiece = 16 << 10

// next returns the next place, or -1 at the end.
func (d *directoryReader) next() (int64, error) {
	if len(d.places) == 0 {
		if d.at == d.end {
			return -1, nil
		}
		if d.buf == nil {
			d.buf = make([]byte, min(directoryPiece, d.end-d.at))
		}
		d.places = d.buf[:min(int64(len(d.buf)), d.end-d.at)]
		if err := readHintAt(d.r, d.places, d.at); err != nil {
			return 0, err
		}
		d.at += int64(len(d.places))
	}
	place := binary.LittleEndian.Uint32(d.places)
	d.places = d.places[directorySize:]
	return int64(place), nil
}

func (d *directoryReader) left() bool { return len(d.places) > 0 || d.at < d.end }

// readHintAt fills b. A hint that ends too early is damaged: ErrHint.
func readHintAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return ErrHint
	}
	return err
}

// Size estimates what the entries take, in terms of HintEntrySize.
func (h *HintReader) Size() int64 { return h.keys + int64(h.count)*HintEntrySize(0) }

// Damages lists the ranges of the file that cannot be read. The caller must not change the list.
func (h *HintReader) Damages() []Damage { return h.damages }

// Pieces is the number of pieces.
func (h *HintReader) Pieces() int { return len(h.pieces) }

// Piece reads a piece into buf, or into new memory if buf is too small. It returns ErrHint if the
// piece changed since the hint was opened.
func (h *HintReader) Piece(i int, buf []byte) (HintEntries, error) {
	piece, end, sum := h.pieces[i], h.entriesEnd, h.sum
	if i+1 < len(h.pieces) {
		end, sum = h.pieces[i+1].at, h.pieces[i+1].sum
	}
	size := int(end - piece.at)
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if err := readHintAt(h.r, buf, piece.at); err != nil {
		return nil, err
	}
	if crc32.Update(piece.sum, castagnoli, buf) != sum {
		return nil, ErrHint
	}
	return buf, nil
}

// Entries yields all entries in key order. If a read fails, it yields the error last. Each entry is
// valid until the next one.
func (h *HintReader) Entries() iter.Seq2[HintEntry, error] {
	return func(yield func(HintEntry, error) bool) {
		var buf []byte
		for i := range h.Pieces() {
			entries, err := h.Piece(i, buf)
			if err != nil {
				yield(HintEntry{}, err)
				return
			}
			buf = entries
			for len(entries) > 0 {
				if !yield(entries.Next(), nil) {
					return
				}
			}
			h.callPause()
		}
	}
}

// HintEntries are encoded entries of a checked hint, in key order.
type HintEntries []byte

// Next cuts off the first entry and returns it.
func (b *HintEntries) Next() HintEntry {
	e, rest, _ := cutEntry(*b)
	*b = rest
	return e
}
