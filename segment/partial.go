package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

const (
	partialMagic      = "MMKVPRT\x00"
	partialHeaderSize = 64

	partialVersionAt     = 8
	partialSumAt         = 12
	partialIDAt          = 16
	partialFromAt        = 24
	partialFromSeqAt     = 32
	partialPreviousAt    = 40
	partialPreviousSeqAt = 48
	partialLastAt        = 56

	// partialVersion is the version of what surrounds the table. The table has a version of its own.
	partialVersion = 1
)

// Range is what a partial hint covers of its segment. It begins where a record begins, and ends
// where a commit ends.
type Range struct {
	From End // where the log was before the first record
	To   End // where it was after the last one
	// Previous is where the file before ends, as the first record of this file says. It is zero if
	// that record does not say, and in all but the first partial hint of a segment.
	Previous End
	// Last is the offset of the last record. One look there tells whether the file has the range.
	Last int64
}

// isSound reports whether records can lie in the range.
func (r *Range) isSound() bool {
	return r.From.Offset >= HeaderSize && r.From.Offset < r.To.Offset && r.To.Offset <= MaxFileSize &&
		(r.From.Offset|r.To.Offset|r.Previous.Offset|r.Last)%Alignment == 0 && r.From.Offset <= r.Last && r.Last < r.To.Offset &&
		r.From.Seq < r.To.Seq && r.To.Seq <= MaxSeq && r.To.Seq-r.From.Seq <= uint64(r.To.Offset-r.From.Offset)/RecordHeaderSize &&
		r.Previous.Offset >= 0 && r.Previous.Offset <= MaxFileSize && r.Previous.Seq <= r.From.Seq
}

// Partial is an open partial hint: a Table of the records in a range of an unsealed segment. All of
// them were on disk before the partial hint was written.
type Partial struct {
	Range
	*Table
}

// partialSalt is the salt that seals the table of a partial hint. So nothing takes the table for a
// hint, or for that of a range which begins elsewhere.
func partialSalt(salt uint64, from int64) uint64 {
	return salt ^ uint64(roleRange) ^ uint64(from)*0x9e3779b97f4a7c15
}

// partialSeal sums the header, but for the sum itself, and the end of the file, which has the sum of
// the table.
func partialSeal(header, end []byte, id ID, salt uint64) uint32 {
	sum := crc32.Checksum(header[:partialSumAt], castagnoli)
	sum = crc32.Update(sum, castagnoli, header[partialIDAt:])
	return seal(crc32.Update(sum, castagnoli, end), salt, int64(id), roleRange)
}

// EncodePartial returns the partial hint of a range, whose records were added to b.
func (b *HintBuilder) EncodePartial(id ID, salt uint64, r Range) []byte {
	table := b.Encode(id, partialSalt(salt, r.From.Offset), r.To, r.To.Seq)
	out := make([]byte, partialHeaderSize, partialHeaderSize+len(table))
	copy(out, partialMagic)
	le := binary.LittleEndian
	le.PutUint32(out[partialVersionAt:], partialVersion)
	le.PutUint64(out[partialIDAt:], uint64(id))
	le.PutUint64(out[partialFromAt:], uint64(r.From.Offset))
	le.PutUint64(out[partialFromSeqAt:], r.From.Seq)
	le.PutUint64(out[partialPreviousAt:], uint64(r.Previous.Offset))
	le.PutUint64(out[partialPreviousSeqAt:], r.Previous.Seq)
	le.PutUint64(out[partialLastAt:], uint64(r.Last))
	le.PutUint32(out[partialSumAt:], partialSeal(out, table[len(table)-hintSumSize:], id, salt))
	return append(out, table...)
}

// OpenPartial opens a partial hint of size bytes, as OpenTable opens a hint. It returns ErrHint for
// one that is not of this segment, or does not say what it covers.
func OpenPartial(r io.ReaderAt, size int64, id ID, salt uint64, pause func()) (*Partial, error) {
	var header [partialHeaderSize]byte
	if size < partialSumAt {
		return nil, ErrHint
	}
	if err := readHintAt(r, header[:min(size, partialHeaderSize)], 0); err != nil {
		return nil, err
	}
	if string(header[:len(partialMagic)]) != partialMagic {
		return nil, ErrHint
	}
	if err := checkVersion(binary.LittleEndian.Uint32(header[partialVersionAt:]), partialVersion); err != nil {
		return nil, err
	}
	var end [hintSumSize]byte
	if size < partialHeaderSize+hintHeaderSize+hintSumSize {
		return nil, ErrHint
	}
	if err := readHintAt(r, end[:], size-hintSumSize); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if ID(le.Uint64(header[partialIDAt:])) != id || le.Uint32(header[partialSumAt:]) != partialSeal(header[:], end[:], id, salt) {
		return nil, ErrHint
	}
	p := &Partial{Range: Range{
		From:     End{int64(le.Uint64(header[partialFromAt:])), le.Uint64(header[partialFromSeqAt:])},
		Previous: End{int64(le.Uint64(header[partialPreviousAt:])), le.Uint64(header[partialPreviousSeqAt:])},
		Last:     int64(le.Uint64(header[partialLastAt:])),
	}}
	var err error
	table := io.NewSectionReader(r, partialHeaderSize, size-partialHeaderSize)
	if p.Table, err = OpenTable(table, size-partialHeaderSize, id, partialSalt(salt, p.From.Offset), pause); err != nil {
		return nil, err
	}
	p.To = p.Covers
	records := p.To.Seq - p.From.Seq
	if !p.isSound() || p.count == 0 || uint64(p.count) > records || p.base <= p.From.Seq || len(p.damages) > 0 {
		return nil, ErrHint
	}
	return p, nil
}

// IsIn reports whether the last record of the range is where it should be in the file. It is not if
// the file is another one than that which the partial hint was written for, such as an older copy.
func (r *Range) IsIn(f io.ReaderAt, salt uint64) bool {
	var last Record
	w := NewWalker(f, salt, r.Last, r.To.Offset)
	return w.Next(&last) == nil && last.Seq == r.To.Seq && w.Offset() == r.To.Offset
}

// Records is the number of records that the range has: their numbers have no gaps.
func (r *Range) Records() int { return int(r.To.Seq - r.From.Seq) }

// errPartial means that the records of a range are not what a writer leaves there.
var errPartial = errors.New("segment: the records are damaged, have gaps, or end inside a batch")

// BuildPartial collects the records of a file from an offset on. It ends with the first commit that
// has at least size bytes before it, or at limit, where a commit must end. It returns an error if a
// record cannot be read. pause is as in BuildHint.
func BuildPartial(f io.ReaderAt, salt uint64, from, size, limit int64, pause func()) (*HintBuilder, Range, error) {
	b := &HintBuilder{Pause: pause}
	s := NewScanner(f, salt, from, limit)
	s.pause = pause
	var r Range
	for open := true; open || s.Offset()-from < size && s.Offset() < limit; {
		e, err := s.Next()
		if err == io.EOF {
			return nil, r, errPartial
		}
		if err != nil {
			return nil, r, err
		}
		if b.count == 0 {
			r.From, r.Previous = End{from, e.Seq - 1}, e.Previous
		} else if e.Seq != r.To.Seq+1 {
			return nil, r, errPartial
		}
		b.work(int(min(e.Size, pauseBytes)))
		b.Add(e)
		r.To, r.Last = End{s.Offset(), e.Seq}, e.Offset
		open = e.Flags&BatchGoesOn != 0
	}
	return b, r, nil
}

// Pieces is the number of pieces in which Piece passes on what was added.
func (b *HintBuilder) Pieces() int { return len(b.chunks) }

// Piece calls each with the records in the i-th piece that begin before an offset, in the order in
// which they were added. An entry is valid until each returns.
func (b *HintBuilder) Piece(i int, before int64, each func(*HintEntry)) {
	var e HintEntry
	for chunk := b.chunks[i]; len(chunk) > 0; {
		chunk, _ = cutEntry(&e, chunk, 0)
		if e.Offset < before {
			each(&e)
		}
	}
}

// Len is the number of records that were added.
func (b *HintBuilder) Len() int { return b.count }
