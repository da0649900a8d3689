package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Segment is one file as readers see it: a handle whose memory and descriptor
// live exactly as long as the Go object. Nothing closes it. Once nobody refers
// to it any more, the file is unmapped and closed in a goroutine of its own, so
// a reader that holds a *Segment can never see its memory go away.
//
// A slice into Memory, or a Record decoded from it, does not keep the Segment
// alive: whoever uses one calls runtime.KeepAlive(segment) behind the last use.
//
// All methods may be called by any number of goroutines at once.
type Segment struct {
	ID   ID
	Salt uint64
	Kind Kind

	memory   []byte       // the mapping; nil when the file is read with ReadAt
	limit    atomic.Int64 // readers see the bytes in front of it; at most len(memory) when mapped
	file     vfs.File
	lifetime *Lifetime
}

// OpenSegment makes a Segment of an open file with the header h, maps its first
// mapSize bytes and takes over f: f is closed with the Segment, or at once when
// OpenSegment fails. mapSize may lie behind the end of the file. When it is 0,
// or the process has no mapping to spare, the file is not mapped, and records
// are read with Load. Nothing can be read before SetLimit.
func OpenSegment(f vfs.File, h Header, mapSize int64) (*Segment, error) {
	lifetime := &Lifetime{file: f}
	s := &Segment{ID: h.ID, Salt: h.Salt, Kind: h.Kind, file: f, lifetime: lifetime}
	if mapSize > 0 {
		mapping, err := f.Map(mapSize)
		switch {
		case err == nil:
			lifetime.mapping = mapping
			s.memory = mapping.Bytes()[:mapSize:mapSize]
		case errors.Is(err, vfs.ErrMappingLimit), errors.Is(err, syscall.ENOMEM):
			// Reading without a mapping is slower, and safe.
		default:
			return nil, errors.Join(fmt.Errorf("segment: mapping %s: %w", FileName(h.ID), err), f.Close())
		}
	}
	heldCount.Add(1)
	heldBytes.Add(int64(len(s.memory)))
	// The cleanup gets the Lifetime, which does not lead back to s: otherwise s
	// would never be unreachable.
	runtime.AddCleanup(s, func(l *Lifetime) { go l.release() }, lifetime)
	return s, nil
}

// Memory is the mapped file, nil when it is not mapped. Only the bytes below
// Limit may be touched: behind the end of the file memory faults.
func (s *Segment) Memory() []byte { return s.memory }

// File is the open file. It is closed with the Segment, so its user keeps the
// Segment alive.
func (s *Segment) File() vfs.File { return s.file }

// Lifetime tells when the Segment is gone, without keeping it alive.
func (s *Segment) Lifetime() *Lifetime { return s.lifetime }

// Populate reads the bytes [from, to) of the mapped file into memory, if they are
// not there, so that touching them takes no fault: a fault that waits for the disk
// would hold up the whole process. It is an attempt, and may fail.
func (s *Segment) Populate(from, to int64) {
	if s.lifetime.mapping != nil && from < to {
		vfs.Populate(s.lifetime.mapping, from, to)
	}
}

// Lock keeps the mapped file in memory from when it is first there.
func (s *Segment) Lock() error {
	if s.lifetime.mapping == nil {
		return nil
	}
	return vfs.LockPages(s.lifetime.mapping)
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
	defer runtime.KeepAlive(s) // the descriptor is open until ReadAt is back

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
			// Nothing is allocated for what a file that was cut does not have.
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

// Lifetime is what a Segment leaves behind: its file and its memory, until they
// are released. It can be kept and asked when the Segment is long gone.
type Lifetime struct {
	file     vfs.File
	mapping  vfs.Mapping // nil when the file is not mapped
	released atomic.Bool
}

// Released tells whether the Segment's memory is unmapped and its file closed.
func (l *Lifetime) Released() bool { return l.released.Load() }

var (
	heldCount     atomic.Int64
	heldBytes     atomic.Int64
	releaseErrors atomic.Int64
)

// Held is the number of segments of this process that are not yet released.
func Held() int64 { return heldCount.Load() }

// HeldBytes is the size of the memory they have mapped.
func HeldBytes() int64 { return heldBytes.Load() }

// ReleaseErrors is how many unmaps and closes of released segments have failed.
// Nobody waits for them, so they are counted rather than returned.
func ReleaseErrors() int64 { return releaseErrors.Load() }

// release unmaps and closes. It is called once, when no reader is left.
func (l *Lifetime) release() {
	var mapped int64
	if l.mapping != nil {
		mapped = int64(len(l.mapping.Bytes()))
		if err := l.mapping.Unmap(); err != nil {
			releaseErrors.Add(1)
		}
	}
	if err := l.file.Close(); err != nil {
		releaseErrors.Add(1)
	}
	heldBytes.Add(-mapped)
	heldCount.Add(-1)
	l.released.Store(true)
}
