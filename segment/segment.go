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

// Segment is one file as readers see it: its memory and its descriptor, which
// live until it is retired and nobody uses it any more. See lifetime.go for who
// uses a Segment and how; a slice into Memory, or a Record decoded from it, is a
// use of it.
//
// All methods may be called by any number of goroutines at once.
type Segment struct {
	ID   ID
	Salt uint64
	Kind Kind

	memory  []byte       // the mapping; nil when the file is read with ReadAt
	limit   atomic.Int64 // readers see the bytes in front of it; at most len(memory) when mapped
	file    vfs.File
	mapping vfs.Mapping // nil when the file is not mapped
	lifetime
}

// OpenSegment makes a Segment of an open file with the header h, maps its first
// mapSize bytes and takes over f: f is closed when the Segment has been retired, or
// at once when OpenSegment fails. mapSize may lie behind the end of the file. When it is 0,
// or the process has no mapping to spare, the file is not mapped, and records
// are read with Load. Nothing can be read before SetLimit.
func OpenSegment(f vfs.File, h Header, mapSize int64) (*Segment, error) {
	s := &Segment{ID: h.ID, Salt: h.Salt, Kind: h.Kind, file: f}
	if mapSize > 0 {
		mapping, err := f.Map(mapSize)
		switch {
		case err == nil:
			s.mapping = mapping
			s.memory = mapping.Bytes()[:mapSize:mapSize]
		case errors.Is(err, vfs.ErrMappingLimit), errors.Is(err, errno.ENOMEM):
			// Reading without a mapping is slower, and safe.
		default:
			return nil, errors.Join(fmt.Errorf("segment: mapping %s: %w", FileName(h.ID), err), f.Close())
		}
	}
	s.begin(int64(len(s.memory)))
	return s, nil
}

// Memory is the mapped file, nil when it is not mapped. Only the bytes below
// Limit may be touched: behind the end of the file memory faults.
func (s *Segment) Memory() []byte { return s.memory }

// File is the open file.
func (s *Segment) File() vfs.File { return s.file }

// Populate reads the bytes [from, to) of the mapped file into memory, if they are
// not there, so that touching them takes no fault: a fault that waits for the disk
// would hold up the whole process. It is an attempt, and may fail.
func (s *Segment) Populate(from, to int64) {
	if s.mapping != nil && from < to {
		vfs.Populate(s.mapping, from, to)
	}
}

// Lock keeps the mapped file in memory from when it is first there.
func (s *Segment) Lock() error {
	if s.mapping == nil {
		return nil
	}
	return vfs.LockPages(s.mapping)
}

// Limit is the published end: readers see only what lies in front of it.
func (s *Segment) Limit() int64 { return s.limit.Load() }

// SetLimit publishes the bytes in front of limit, which the file must have. A
// mapped segment's limit is never more than its memory, whatever a manifest
// said about it: reads behind it are ErrBounds.
func (s *Segment) SetLimit(limit int64) {
	if s.memory != nil {
		limit = min(limit, int64(len(s.memory)))
	}
	s.limit.Store(limit)
}

// Record decodes the record at offset from the mapped memory into r, without
// allocating, and without checking the value's checksum. size is the record's
// size on disk, -1 when it is not known. The memory may fault: the caller holds
// the guard. A segment that is not mapped has no record here, all is ErrBounds.
func (s *Segment) Record(r *Record, offset, size int64) error {
	memory := s.memory
	if uint64(offset) >= uint64(len(memory)) {
		return ErrBounds
	}
	// One load decides for the whole record: Decode takes nothing behind it.
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

// firstLoad is how much Load reads of a record whose size is not known: most
// such records are large, and the rest is fetched with a second read.
const firstLoad = 4 << 10

// Load is Record for a file that is not mapped: it reads the record at offset
// into buf and decodes it from there. It returns buf, grown when the record
// needs it, never beyond what lies between offset and Limit; r aliases it. A
// file that ends too early is ErrBounds; what the system refused to read is an
// error of the system.
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

// readFull fills p from the file. The end of the file is damage here, since p
// lies below the published end.
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

// grown is buf with the length size and its old bytes, in new memory if need be.
func grown(buf []byte, size int64) []byte {
	if int64(cap(buf)) >= size {
		return buf[:size]
	}
	larger := make([]byte, size)
	copy(larger, buf)
	return larger
}

// sizeFromHeader is the size of the record that data begins with, as its header
// has it, before anything of it is verified. data holds at least the header.
func sizeFromHeader(data []byte) int64 {
	return RecordSize(
		int(binary.LittleEndian.Uint16(data[keySizeAt:])),
		int64(binary.LittleEndian.Uint32(data[valueSizeAt:])),
		Flags(data[flagsAt]))
}
