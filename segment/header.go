package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind is what a segment file holds.
type Kind uint32

const (
	// Log is a piece of the log as it was written: its sequence numbers have no gaps.
	Log Kind = 1
	// Merged holds the live records of older files.
	Merged Kind = 2
)

// HeaderSize is the size in bytes of a segment file's header, without the list of files that it
// replaces.
const HeaderSize = 64

const (
	segmentMagic = "MMKVSEG\x00"

	segVersionAt    = 8
	segHeaderSizeAt = 12
	segIDAt         = 16
	segSaltAt       = 24
	segKindAt       = 32
	segReplacedAt   = 36
	segSumAt        = 60

	// maxReplaced bounds the memory that a reader allocates for that list.
	maxReplaced = 1 << 20
)

// Header is the start of a segment file.
type Header struct {
	ID       ID     // unique in the store
	Salt     uint64 // random; part of every checksum in the file
	Kind     Kind   // Log or Merged
	Replaces []ID   // the files that a Merged one replaces
}

// Size is the encoded size: the offset of the first record.
func (h Header) Size() int64 { return HeaderSize + 8*int64(len(h.Replaces)) }

// Append appends the encoded header to dst.
func (h Header) Append(dst []byte) []byte {
	b := make([]byte, h.Size())
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[segVersionAt:], formatVersion)
	binary.LittleEndian.PutUint32(b[segHeaderSizeAt:], uint32(len(b)))
	binary.LittleEndian.PutUint64(b[segIDAt:], uint64(h.ID))
	binary.LittleEndian.PutUint64(b[segSaltAt:], h.Salt)
	binary.LittleEndian.PutUint32(b[segKindAt:], uint32(h.Kind))
	binary.LittleEndian.PutUint32(b[segReplacedAt:], uint32(len(h.Replaces)))
	for i, id := range h.Replaces {
		binary.LittleEndian.PutUint64(b[HeaderSize+8*i:], uint64(id))
	}
	binary.LittleEndian.PutUint32(b[segSumAt:], headerSum(b, h.Salt))
	return append(dst, b...)
}

// headerSum is the checksum of an encoded header. It skips the bytes of the checksum.
func headerSum(b []byte, salt uint64) uint32 {
	sum := crc32.Update(0, castagnoli, b[:segSumAt])
	return seal(crc32.Update(sum, castagnoli, b[HeaderSize:]), salt, 0, roleHeader)
}

// ReadHeader reads the header of a file of the given size.
func ReadHeader(r io.ReaderAt, fileSize int64) (Header, error) {
	var fixed [HeaderSize]byte
	if fileSize < HeaderSize {
		return Header{}, fmt.Errorf("%w: the file has %d bytes", ErrHeader, fileSize)
	}
	if err := readFull(r, fixed[:], 0); err != nil {
		return Header{}, err
	}
	if string(fixed[:len(segmentMagic)]) != segmentMagic {
		return Header{}, fmt.Errorf("%w: it does not begin like a segment", ErrHeader)
	}
	if err := checkVersion(binary.LittleEndian.Uint32(fixed[segVersionAt:]), formatVersion); err != nil {
		return Header{}, err
	}
	replaced := binary.LittleEndian.Uint32(fixed[segReplacedAt:])
	size := binary.LittleEndian.Uint32(fixed[segHeaderSizeAt:])
	if replaced > maxReplaced || uint64(size) != HeaderSize+8*uint64(replaced) || int64(size) > fileSize {
		return Header{}, fmt.Errorf("%w: its size is invalid", ErrHeader)
	}
	b := make([]byte, size)
	if err := readFull(r, b[copy(b, fixed[:]):], HeaderSize); err != nil {
		return Header{}, err
	}
	h := Header{
		ID:   ID(binary.LittleEndian.Uint64(b[segIDAt:])),
		Salt: binary.LittleEndian.Uint64(b[segSaltAt:]),
		Kind: Kind(binary.LittleEndian.Uint32(b[segKindAt:])),
	}
	for i := range int(replaced) {
		h.Replaces = append(h.Replaces, ID(binary.LittleEndian.Uint64(b[HeaderSize+8*i:])))
	}
	if binary.LittleEndian.Uint32(b[segSumAt:]) != headerSum(b, h.Salt) {
		return Header{}, fmt.Errorf("%w: %w", ErrHeader, ErrChecksum)
	}
	if h.ID == 0 || h.Kind != Log && h.Kind != Merged {
		return Header{}, fmt.Errorf("%w: file %d is of kind %d", ErrHeader, h.ID, h.Kind)
	}
	return h, nil
}

// readFull fills p with part of a header. A file that ends too early is damaged.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := r.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file ends at %d", ErrHeader, offset+int64(n))
	}
	return err
}
