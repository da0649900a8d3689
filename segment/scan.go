package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Entry is one record as a scan reports it.
type Entry struct {
	Offset    int64  // in the file, in bytes: where the record begins
	Size      int64  // in the file, in bytes, with padding
	Seq       uint64 // the sequence number, at least 1
	Flags     Flags  // what the record is, and which of the next three fields are valid
	Expiry    int64  // Unix milliseconds, with Expires
	Watermark uint64 // all records up to it were on disk before this one, with HasWatermark
	Previous  End    // the end of the previous file, with HasPrevious
	Key       []byte // valid until the next call
	ValueSize int64  // in bytes
	ValueOK   bool   // the value matches its checksum
}

// Scanner reads the records of a file in order, through a window of bounded size. It checks a long
// value piece by piece, and never holds it whole. Not for concurrent use.
type Scanner struct {
	r      io.ReaderAt
	salt   uint64
	offset int64 // of the next record
	to     int64

	window   []byte
	windowAt int64
	pieces   pieceSums // of the window

	pause func() // if not nil, called whenever the window moves
}

// scanWindow is how many bytes a Scanner reads at a time. Any header fits into it with its key.
const scanWindow = 1 << 20

// NewScanner returns a Scanner over the bytes [from, to) of a file.
func NewScanner(r io.ReaderAt, salt uint64, from, to int64) *Scanner {
	return &Scanner{r: r, salt: salt, offset: from, to: to}
}

// Offset is where Next looks.
func (s *Scanner) Offset() int64 { return s.offset }

// Next returns the record at Offset and moves past it. It returns io.EOF at the end. If no record
// validates at Offset, it returns ErrBadRecord and does not move. It does return a record of which
// only the value is damaged, with ValueOK false. Other errors come from reading.
func (s *Scanner) Next() (Entry, error) {
	if s.offset >= s.to {
		return Entry{}, io.EOF
	}
	e, err := s.parse(s.offset)
	if err == nil {
		s.offset += e.Size
	}
	return e, err
}

// Resync tries every place after Offset where a record can begin. It returns the first record that
// validates and whose sequence number is at least minSeq, and moves past it. It returns io.EOF if
// there is no such record.
func (s *Scanner) Resync(minSeq uint64) (Entry, error) {
	for at := s.offset + Alignment; s.to-at >= RecordHeaderSize; at += Alignment {
		b, err := s.bytes(at, RecordHeaderSize)
		if err != nil {
			return Entry{}, err
		}
		if len(b) < RecordHeaderSize {
			break
		}
		if binary.LittleEndian.Uint64(b) == 0 {
			at += max(s.zerosAt(at)-Alignment, 0)
			continue
		}
		if !plausible(b, s.to-at, minSeq) {
			continue
		}
		refuted, err := s.refutes(b, at)
		if err != nil {
			return Entry{}, err
		}
		if refuted {
			continue
		}
		e, err := s.parse(at)
		if errors.Is(err, ErrBadRecord) {
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		s.offset = at + e.Size
		return e, nil
	}
	s.offset = s.to
	return Entry{}, io.EOF
}

// Scan calls record for each record that validates in the bytes [from, to) of a file, and damage
// for each unreadable range between them or after the last one, in file order.
func Scan(r io.ReaderAt, salt uint64, from, to int64, record func(Entry), damage func(Damage)) error {
	return NewScanner(r, salt, from, to).Each(func(e Entry) bool {
		record(e)
		return true
	}, damage)
}

// Each is Scan from Offset on. record says whether it trusts the number of the record: after
// damage, Each looks only for records with higher numbers than the last one that was trusted.
func (s *Scanner) Each(record func(Entry) (trusted bool), damage func(Damage)) error {
	var last uint64
	for {
		reached := s.Offset()
		e, err := s.Next()
		if errors.Is(err, ErrBadRecord) {
			e, err = s.Resync(last + 1)
			switch {
			case err == nil:
				damage(Damage{reached, e.Offset - reached})
			case err == io.EOF:
				damage(Damage{reached, s.to - reached})
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if record(e) {
			last = e.Seq
		}
	}
}

// zerosAt returns how many bytes of the window are zero from an offset on, rounded down. Behind the
// records of a file that was being written there are often hundreds of megabytes of them.
func (s *Scanner) zerosAt(at int64) (n int64) {
	const block = 8 * Alignment
	for rest := s.window[at-s.windowAt:]; len(rest) >= block; rest = rest[block:] {
		all := uint64(0)
		for i := 0; i < block; i += Alignment {
			all |= binary.LittleEndian.Uint64(rest[i:])
		}
		if all != 0 {
			break
		}
		n += block
	}
	return n
}

// plausible reports whether header can be a record's header. It does not check the checksum.
func plausible(header []byte, left int64, minSeq uint64) bool {
	flags := Flags(header[flagsAt])
	return flags&^knownFlags == 0 && header[zeroAt] == 0 &&
		binary.LittleEndian.Uint64(header[seqAt:]) >= max(minSeq, 1) &&
		binary.LittleEndian.Uint32(header[headerSumAt:]) != 0 &&
		binary.LittleEndian.Uint32(header[valueSumAt:]) != 0 &&
		(flags&Tombstone == 0 || binary.LittleEndian.Uint32(header[valueSizeAt:]) == 0) &&
		sizeFromHeader(header) <= left
}

// longHead is the size in bytes from which refutes is faster than parse.
const longHead = 1 << 9

// refutes reports whether what looks like a header at an offset does not validate. It decides only
// for long ones: in a file full of such false headers, parse would sum each byte thousands of times.
func (s *Scanner) refutes(header []byte, at int64) (bool, error) {
	stored := binary.LittleEndian.Uint32(header[headerSumAt:])
	size := RecordHeaderSize + Flags(header[flagsAt]).extension() + int(binary.LittleEndian.Uint16(header[keySizeAt:]))
	if size < longHead {
		return false, nil
	}
	head, err := s.bytes(at, size)
	if err != nil || len(head) < size {
		return err == nil, err
	}
	from := int(at - s.windowAt)
	sum := s.pieces.sum(from+valueSumAt, from+size)
	return stored != seal(sum, s.salt, at, roleHeader), nil
}

// parse reads the record at an offset.
func (s *Scanner) parse(at int64) (Entry, error) {
	header, err := s.bytes(at, RecordHeaderSize)
	if err != nil {
		return Entry{}, err
	}
	if len(header) < RecordHeaderSize || !plausible(header, s.to-at, 1) {
		return Entry{}, ErrBadRecord
	}
	flags := Flags(header[flagsAt])
	keySize := int(binary.LittleEndian.Uint16(header[keySizeAt:]))
	valueSize := int64(binary.LittleEndian.Uint32(header[valueSizeAt:]))
	size := sizeFromHeader(header)
	headSize := RecordHeaderSize + flags.extension() + keySize
	head, err := s.bytes(at, headSize)
	if err != nil {
		return Entry{}, err
	}
	if len(head) < headSize ||
		binary.LittleEndian.Uint32(head[headerSumAt:]) != seal(crc32.Update(0, castagnoli, head[valueSumAt:]), s.salt, at, roleHeader) {
		return Entry{}, ErrBadRecord
	}
	r := Record{Flags: flags}
	r.decodeExtensions(head[RecordHeaderSize : headSize-keySize])
	e := Entry{
		Offset: at, Size: size, Seq: binary.LittleEndian.Uint64(head[seqAt:]), Flags: flags,
		Expiry: r.Expiry, Watermark: r.Watermark, Previous: r.Previous, Key: head[headSize-keySize:], ValueSize: valueSize,
	}
	stored := binary.LittleEndian.Uint32(head[valueSumAt:])
	if at+int64(headSize)+valueSize > s.windowAt+int64(len(s.window)) {
		e.Key = append([]byte(nil), e.Key...) // the value makes the window move
	}
	sum, complete, err := s.sum(at+int64(headSize), valueSize)
	if err != nil {
		return Entry{}, err
	}
	e.ValueOK = complete && stored == seal(sum, s.salt, at, roleValue)
	return e, nil
}

// sum is the CRC-32C of a value. It may move the window.
func (s *Scanner) sum(at, size int64) (sum uint32, complete bool, err error) {
	for size > 0 {
		b, err := s.bytes(at, int(min(size, scanWindow)))
		if err != nil {
			return 0, false, err
		}
		if len(b) == 0 {
			return 0, false, nil
		}
		sum = crc32.Update(sum, castagnoli, b)
		at, size = at+int64(len(b)), size-int64(len(b))
	}
	return sum, true, nil
}

// bytes returns n bytes of the file, or fewer at its end. n is at most scanWindow.
func (s *Scanner) bytes(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.to-at))
	if at < s.windowAt || at+int64(n) > s.windowAt+int64(len(s.window)) {
		if err := s.fill(at); err != nil {
			return nil, err
		}
	}
	b := s.window[at-s.windowAt:]
	return b[:min(n, len(b))], nil
}

// fill moves the window to an offset, which overwrites keys that were returned from the old window.
func (s *Scanner) fill(at int64) error {
	if s.pause != nil {
		s.pause()
	}
	size := min(scanWindow, s.to-at)
	if int64(cap(s.window)) < size {
		s.window = make([]byte, size)
	}
	s.window, s.windowAt = s.window[:size], at
	n, err := s.r.ReadAt(s.window, at)
	s.window = s.window[:n]
	s.pieces.reset(s.window)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
