package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Segment is one file as readers see it: its memory and its descriptor. They live until the Segment
// is retired and no longer used; see lifetime.go for what counts as a use. Whoever holds a slice of
// Memory, or a Record decoded from it, uses the Segment.
//
// All methods are safe for concurrent use.
type Segment struct {
	// ID, Salt and Kind are those of the file's header.
	ID   ID
	Salt uint64
	Kind Kind

	memory  []byte       // the mapping; nil when the file is read with ReadAt
	limit   atomic.Int64 // readers see the bytes before it; at most len(memory) when mapped
	file    vfs.File
	mapping vfs.Mapping // nil when the file is not mapped
	lifetime
}

// OpenSegment makes a Segment from an open file with the header h, and maps its first mapSize
// bytes. It takes ownership of f: f is closed when the Segment is released, or at once if
// OpenSegment fails. mapSize may exceed the size of the file. If it is 0, or the process has reached
// its limit of mappings, the file is not mapped, and Load reads its records. Nothing can be read
// before SetLimit.
func OpenSegment(f vfs.File, h Header, mapSize int64) (*Segment, error) {
	s := &Segment{ID: h.ID, Salt: h.Salt, Kind: h.Kind, file: f}
	if mapSize > 0 {
		mapping, err := f.Map(mapSize)
		switch {
		case err == nil:
			s.mapping = mapping
			s.memory = mapping.Bytes()[:mapSize:mapSize]
		case errors.Is(err, vfs.ErrMappingLimit), errors.Is(err, errno.ENOMEM):
			// Reading without a mapping is slower, but safe.
		default:
			return nil, errors.Join(fmt.Errorf("segment: mapping %s: %w", FileName(h.ID), err), f.Close())
		}
	}
	s.begin(int64(len(s.memory)))
	return s, nil
}

// Memory is the mapped file, nil when it is not mapped. The caller may touch only the bytes below
// Limit: memory past the end of the file faults.
func (s *Segment) Memory() []byte { return s.memory }

// Handle is the open file.
func (s *Segment) Handle() vfs.File { return s.file }

// Populate brings the bytes [from, to) of the mapped file into memory, so that touching them does
// not fault: a fault that waits for the disk would hold up the whole process. Populate is best
// effort, and may fail.
func (s *Segment) Populate(from, to int64) {
	if s.mapping != nil && from < to {
		vfs.Populate(s.mapping, from, to)
	}
}

// Lock keeps the pages of the mapped file in memory once they have been loaded.
func (s *Segment) Lock() error {
	if s.mapping == nil {
		return nil
	}
	return vfs.LockPages(s.mapping)
}

// Limit is the published end: readers see only the bytes before it.
func (s *Segment) Limit() int64 { return s.limit.Load() }

// SetLimit publishes the bytes before limit, which the file must have. The limit of a mapped Segment
// never exceeds its memory, whatever a manifest says: reads past it return ErrBounds.
func (s *Segment) SetLimit(limit int64) {
	if s.memory != nil {
		limit = min(limit, int64(len(s.memory)))
	}
	s.limit.Store(limit)
}

// Record decodes the record at offset from the mapped memory into r. It does not allocate, and does
// not check the value's checksum. size is the record's size on disk, -1 if unknown. The memory may
// fault, so the caller must have called Enter of package guard. Record returns ErrBounds if the
// Segment is not mapped.
func (s *Segment) Record(r *Record, offset, size int64) error {
	memory := s.memory
	if uint64(offset) >= uint64(len(memory)) {
		return ErrBounds
	}
	// One load of the limit decides for the whole record: Decode reads nothing past it.
	left := s.limit.Load() - offset
	if left < RecordHeaderSize {
		return ErrBounds
	}
	memory = memory[offset:][:left]
	if err := Decode(r, memory, s.Salt, offset); err != nil {
		return err
	}
	if size >= 0 && r.Size != size {
		return ErrBounds
	}
	return nil
}

// PeekSize returns the size that the header at an offset says its record has. It verifies nothing
// but that the record fits. Like Record, it must be called under the fault guard.
func (s *Segment) PeekSize(offset int64) (size int64, err error) {
	if s.memory == nil {
		return ReadRecordSize(s.file, offset, s.limit.Load())
	}
	left := s.limit.Load() - offset
	if offset < 0 || left < RecordHeaderSize {
		return 0, ErrBounds
	}
	if size = sizeFromHeader(s.memory[offset:]); size > left {
		return 0, ErrBounds
	}
	return size, nil
}

// firstLoad is how many bytes Load reads first if it does not know the size of the record. Most such
// records are large, and a second read gets the rest.
const firstLoad = 4 << 10

// Load is Record through a system call, for files that are not mapped or not in memory: it reads the record at offset into buf and decodes it
// there. It returns buf, which it grows if necessary, but never beyond the distance from offset to
// Limit; r aliases buf. If the file ends too early, Load returns ErrBounds; if the system fails to
// read, it returns the system's error.
func (s *Segment) Load(r *Record, buf []byte, offset, size int64) ([]byte, error) {
	left := s.limit.Load() - offset
	if offset < 0 || left < RecordHeaderSize || size > left {
		return buf, ErrBounds
	}
	have := size
	if size < 0 {
		have = min(left, max(firstLoad, int64(cap(buf))))
	}
	buf = grown(buf, have)
	if err := s.readFull(buf, offset); err != nil {
		return buf, err
	}
	if size < 0 {
		size = sizeFromHeader(buf)
		if size > left {
			return buf, ErrBounds
		}
		if size > have {
			// Read the last byte first, so that a file that was cut costs no allocation.
			var last [1]byte
			if err := s.readFull(last[:], offset+size-1); err != nil {
				return buf, err
			}
			buf = grown(buf, size)
			if err := s.readFull(buf[have:], offset+have); err != nil {
				return buf, err
			}
		}
	}
	if err := Decode(r, buf, s.Salt, offset); err != nil {
		return buf, err
	}
	if r.Size != size {
		return buf, ErrBounds
	}
	return buf, nil
}

// readFull fills p from the file. A file that ends too early is damaged, since these bytes were
// published.
func (s *Segment) readFull(p []byte, offset int64) error {
	n, err := s.file.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrBounds
	}
	return err
}

// grown returns buf with length size and its old bytes, in new memory if it is too small.
func grown(buf []byte, size int64) []byte {
	if int64(cap(buf)) >= size {
		return buf[:size]
	}
	larger := make([]byte, size)
	copy(larger, buf)
	return larger
}

// sizeFromHeader is the size of the record at the start of data, according to its unverified header.
// data holds at least the header.
func sizeFromHeader(data []byte) int64 {
	return RecordSize(
		int(binary.LittleEndian.Uint16(data[keySizeAt:])),
		int64(binary.LittleEndian.Uint32(data[valueSizeAt:])),
		Flags(data[flagsAt]))
}
