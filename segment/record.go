package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Limits and sizes of the format, in bytes.
const (
	MaxKeySize       = 1<<16 - 1
	MaxValueSize     = 1<<32 - 1
	MaxOffset        = 1<<32 - Alignment // of a record in its file
	Alignment        = 8                 // of every record
	RecordHeaderSize = 24

	// MaxExtra bounds the extensions that a write adds to its first record.
	MaxExtra = watermarkSize + previousSize

	expirySize    = 8
	watermarkSize = 8
	previousSize  = 16
)

// MaxSeq is above every sequence number that a store can ever assign.
const MaxSeq = 1 << 62

const (
	headerSumAt = 0
	valueSumAt  = 4
	seqAt       = 8
	valueSizeAt = 16
	keySizeAt   = 20
	flagsAt     = 22
	zeroAt      = 23
)

// Flags say what a record is and which extensions it has.
type Flags uint8

const (
	Tombstone    Flags = 1 << iota // the key has no value from this record on
	Expires                        // an expiry follows the header
	BatchGoesOn                    // the next record belongs to the same batch
	HasWatermark                   // a watermark follows
	HasPrevious                    // the end of the previous file follows

	knownFlags = Tombstone | Expires | BatchGoesOn | HasWatermark | HasPrevious
)

// extension is the size of the extensions that the flags announce.
func (f Flags) extension() int {
	return expirySize*int(f>>1&1) + watermarkSize*int(f>>3&1) + previousSize*int(f>>4&1)
}

// End is where a file of the log ends: the offset after its last record, and the sequence number
// that the log has reached there.
type End struct {
	Offset int64  // in bytes
	Seq    uint64 // a sequence number
}

// RecordSize is the size of a record in the file.
func RecordSize(keySize int, valueSize int64, flags Flags) int64 {
	return RecordHeaderSize + int64(flags.extension()) + padded(int64(keySize)+valueSize)
}

func padded(n int64) int64 { return (n + Alignment - 1) &^ (Alignment - 1) }

// Record is one decoded record. Key and Value alias the bytes that it was decoded from.
type Record struct {
	Seq        uint64 // the sequence number, at least 1
	Flags      Flags  // what the record is, and which of the next three fields are valid
	Expiry     int64  // Unix milliseconds, with Expires
	Watermark  uint64 // all records up to it were on disk before this one, with HasWatermark
	Previous   End    // the end of the previous file, with HasPrevious
	Key, Value []byte // the value is not verified; a tombstone has none
	Size       int64  // in the file, in bytes, with padding

	valueSum uint32
	salt     uint64
	offset   int64
}

// Decode decodes the record at the start of data, which may be longer, into r. It checks every
// length against the size of data. It also checks the header's checksum, which covers everything
// except the value and the padding; see ValueOK for the value.
func Decode(r *Record, data []byte, salt uint64, offset int64) error {
	head, valueSize, err := decodeHead(r, data, int64(len(data)), salt, offset)
	if err == nil {
		r.Value = data[head:][:valueSize]
	}
	return err
}

// decodeHead decodes a record without its value, which need not be in data. It checks that the
// whole record fits into room bytes. head is where the value begins.
func decodeHead(r *Record, data []byte, room int64, salt uint64, offset int64) (head int, valueSize int64, err error) {
	if len(data) < RecordHeaderSize {
		return 0, 0, ErrBounds
	}
	header := data[:RecordHeaderSize]
	flags := Flags(header[flagsAt])
	keySize := int(binary.LittleEndian.Uint16(header[keySizeAt:]))
	valueSize = int64(binary.LittleEndian.Uint32(header[valueSizeAt:]))
	if flags&^knownFlags != 0 {
		return 0, 0, ErrChecksum
	}
	head = RecordHeaderSize + flags.extension() + keySize
	if head > len(data) || valueSize > room-int64(head) {
		return 0, 0, ErrBounds
	}
	stored := binary.LittleEndian.Uint32(header[headerSumAt:])
	if stored == 0 || stored != seal(crc32.Update(0, castagnoli, data[valueSumAt:head]), salt, offset, roleHeader) {
		return 0, 0, ErrChecksum
	}
	seq := binary.LittleEndian.Uint64(header[seqAt:])
	size := RecordSize(keySize, valueSize, flags)
	if seq == 0 || header[zeroAt] != 0 || size > room || flags&Tombstone != 0 && valueSize != 0 {
		return 0, 0, ErrBounds
	}
	r.Seq, r.Flags, r.Size = seq, flags, size
	r.valueSum = binary.LittleEndian.Uint32(header[valueSumAt:])
	r.salt, r.offset = salt, offset
	r.Expiry, r.Watermark, r.Previous = 0, 0, End{}
	if head-keySize != RecordHeaderSize {
		r.decodeExtensions(data[RecordHeaderSize : head-keySize])
	}
	r.Key = data[head-keySize : head]
	return head, valueSize, nil
}

// decodeExtensions decodes the extensions that Flags announces.
func (r *Record) decodeExtensions(b []byte) {
	if r.Flags&Expires != 0 {
		r.Expiry, b = int64(binary.LittleEndian.Uint64(b)), b[expirySize:]
	}
	if r.Flags&HasWatermark != 0 {
		r.Watermark, b = binary.LittleEndian.Uint64(b), b[watermarkSize:]
	}
	if r.Flags&HasPrevious != 0 {
		r.Previous = End{int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:])}
	}
}

// ValueOK reports whether the value matches its checksum.
func (r *Record) ValueOK() bool {
	return r.valueSum == seal(crc32.Update(0, castagnoli, r.Value), r.salt, r.offset, roleValue)
}

// Expired reports whether the record has an expiry that has passed.
func (r *Record) Expired(nowMillis int64) bool {
	return r.Flags&Expires != 0 && r.Expiry <= nowMillis
}

// ReadRecordSize reads the size of the record at an offset of a file whose records end at limit. It
// checks only that the record fits.
func ReadRecordSize(r io.ReaderAt, offset, limit int64) (int64, error) {
	var header [RecordHeaderSize]byte
	n, err := r.ReadAt(header[:], offset)
	if n < len(header) {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrBounds
		}
		return 0, err
	}
	size := sizeFromHeader(header[:])
	if size > limit-offset {
		return 0, ErrBounds
	}
	return size, nil
}
