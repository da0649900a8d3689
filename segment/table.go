package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Table is an open hint, which is read in place and in part. Opening it checks the header and the
// directory. Each part is checked when it is read, before anything in it is decoded.
//
// Its methods may be called by several goroutines at once.
type Table struct {
	ID        ID     // of the segment
	Covers    End    // where the file's records ended when the hint was written
	Watermark uint64 // all records up to it were on disk then

	r       io.ReaderAt
	mapped  []byte // the whole hint, if it is in memory; nil: it is read from r
	pause   func()
	salt    uint64
	bound   uint32
	base    uint64
	count   int // of entries
	keys    int64
	common  []byte // what all keys begin with
	damages []Damage

	fences   []uint64   // of each part: 8 bytes of its first key after common
	parts    []partLine // and where it is
	partsEnd int64      // where the directory begins
	pieces   []int      // the first part of each piece
}

// partLine is a part's line in the directory, but for its fence.
type partLine struct {
	first uint32 // the number of its first entry
	place uint32 // where it begins, in units of Alignment
	sum   uint32
}

// OpenTable opens a hint of size bytes. It checks that the hint belongs to the segment, and that
// its header, directory and damaged ranges are what was written. It reads nothing else. The Table
// reads from r again for each part. pause, if not nil, is called between reads of some length, and
// may block.
func OpenTable(r io.ReaderAt, size int64, id ID, salt uint64, pause func()) (*Table, error) {
	t := &Table{ID: id, r: r, salt: salt, pause: pause}
	var header [hintHeaderSize]byte
	if size < hintDamagesAt {
		return nil, ErrHint
	}
	if err := readHintAt(r, header[:min(size, hintHeaderSize)], 0); err != nil {
		return nil, err
	}
	if err := checkHintHeader(header[:], id); err != nil { // another version may be shorter
		return nil, err
	}
	if size < hintHeaderSize+hintSumSize {
		return nil, ErrHint
	}
	if err := t.readDirectory(header[:], size); err != nil {
		return nil, err
	}
	return t, nil
}

// OpenTableIn opens a hint that is in memory, like OpenTable. Parts are checked and decoded where
// they lie.
func OpenTableIn(data []byte, id ID, salt uint64, pause func()) (*Table, error) {
	t, err := OpenTable(bytes.NewReader(data), int64(len(data)), id, salt, pause)
	if err == nil {
		t.mapped = data
	}
	return t, err
}

// readDirectory reads what the header announces, and checks it.
func (t *Table) readDirectory(header []byte, size int64) error {
	le := binary.LittleEndian
	t.Covers = End{int64(le.Uint64(header[hintCoversAt:])), le.Uint64(header[hintSeqAt:])}
	t.Watermark, t.base = le.Uint64(header[hintWatermarkAt:]), le.Uint64(header[hintBaseAt:])
	t.bound = boundSum(header)
	count, keys := le.Uint64(header[hintCountAt:]), le.Uint64(header[hintKeyBytesAt:])
	parts, prefix, damages := int64(le.Uint32(header[hintPartsAt:])), int64(le.Uint32(header[hintPrefixAt:])), int64(le.Uint32(header[hintDamagesAt:]))
	// None of these sums can overflow: each number has 32 bits.
	t.partsEnd = size - hintSumSize - parts*directorySize - prefix - damages*damageSize
	if t.Covers.Offset < 0 || prefix > MaxKeySize || t.partsEnd < hintHeaderSize+parts*minPartSize ||
		count > uint64(parts)*partEntries || keys > count*MaxKeySize {
		return ErrHint
	}
	t.count, t.keys = int(count), int64(keys)
	s := section{r: t.r, at: t.partsEnd, sum: crc32.Checksum(header, castagnoli), pause: t.callPause}
	if err := s.each(parts*directorySize, directorySize, t.addPart); err != nil {
		return err
	}
	if err := s.each(prefix, 1, func(piece []byte) bool { t.common = append(t.common, piece...); return true }); err != nil {
		return err
	}
	if err := s.each(damages*damageSize, damageSize, t.addDamage); err != nil {
		return err
	}
	var sum [hintSumSize]byte
	if err := readHintAt(t.r, sum[:], s.at); err != nil {
		return err
	}
	if le.Uint64(sum[:]) != uint64(hintSeal(s.sum, t.ID, t.salt)) || !t.isWhole(count) {
		return ErrHint
	}
	return nil
}

// section reads the part of a hint that is checked as a whole, and sums it.
type section struct {
	r     io.ReaderAt
	at    int64
	sum   uint32
	buf   []byte
	pause func()
}

// sectionPiece bounds what is read at a time, in bytes.
const sectionPiece = 64 << 10

// each reads the next size bytes, and calls use with pieces of them that are multiples of unit. It
// returns ErrHint once use returns false.
func (s *section) each(size, unit int64, use func(piece []byte) bool) error {
	for size > 0 {
		n := min(sectionPiece/unit*unit, size)
		if int64(cap(s.buf)) < n {
			s.buf = make([]byte, n)
		}
		piece := s.buf[:n]
		if err := readHintAt(s.r, piece, s.at); err != nil {
			return err
		}
		s.sum = crc32.Update(s.sum, castagnoli, piece)
		if !use(piece) {
			return ErrHint
		}
		s.at += n
		size -= n
		s.pause()
	}
	return nil
}

// addPart adds lines of the directory. Each part must have entries, begin behind the one before and
// before the directory, and not have keys below it. So lines that are no lines end the reading
// before much memory is spent on them.
func (t *Table) addPart(lines []byte) bool {
	for ; len(lines) > 0; lines = lines[directorySize:] {
		fence := binary.BigEndian.Uint64(lines)
		numbers := lines[prefixSize:]
		line := partLine{binary.LittleEndian.Uint32(numbers), binary.LittleEndian.Uint32(numbers[4:]), binary.LittleEndian.Uint32(numbers[8:])}
		place := int64(line.place) * Alignment
		if n := len(t.parts); n == 0 {
			if line.first != 0 || place != hintHeaderSize {
				return false
			}
			t.pieces = append(t.pieces, 0)
		} else {
			last := t.parts[n-1]
			size := place - t.partPlace(n-1)
			if line.first <= last.first || line.first-last.first > partEntries || size <= 0 || size > maxPartSize || fence < t.fences[n-1] {
				return false
			}
			if place-t.partPlace(t.pieces[len(t.pieces)-1]) >= hintPieceSize {
				t.pieces = append(t.pieces, n)
			}
		}
		if place >= t.partsEnd {
			return false
		}
		t.fences, t.parts = append(t.fences, fence), append(t.parts, line)
	}
	return true
}

// addDamage adds damaged ranges: each must begin at or after the end of the previous one, and lie in
// the covered part of the file.
func (t *Table) addDamage(ranges []byte) bool {
	end := uint64(0)
	if n := len(t.damages); n > 0 {
		end = uint64(t.damages[n-1].Offset + t.damages[n-1].Length)
	}
	for ; len(ranges) > 0; ranges = ranges[damageSize:] {
		offset, length := binary.LittleEndian.Uint64(ranges), binary.LittleEndian.Uint64(ranges[8:])
		if length == 0 || offset < end || (offset|end)%Alignment != 0 ||
			offset > uint64(t.Covers.Offset) || length > uint64(t.Covers.Offset)-offset {
			return false
		}
		end = offset + length
		t.damages = append(t.damages, Damage{int64(offset), int64(length)})
	}
	return true
}

// isWhole reports whether the parts hold as many entries as the header says, and fill the room before
// the directory.
func (t *Table) isWhole(count uint64) bool {
	if len(t.parts) == 0 {
		return count == 0 && t.partsEnd == hintHeaderSize
	}
	last := len(t.parts) - 1
	first := uint64(t.firstEntry(last))
	return count > first && count-first <= partEntries && t.partsEnd-t.partPlace(last) <= maxPartSize
}

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

func (t *Table) callPause() {
	if t.pause != nil {
		t.pause()
	}
}

// Len is the number of entries.
func (t *Table) Len() int { return t.count }

// Size estimates what the entries take, in terms of HintEntrySize.
func (t *Table) Size() int64 { return t.keys + int64(t.count)*HintEntrySize(0) }

// Damages lists the ranges of the file that cannot be read. The caller must not change the list.
func (t *Table) Damages() []Damage { return t.damages }
