// Package walrus reads the files of walrus (github.com/nubskr/walrus), a key-value
// store in Rust, so that mmapkv can import its data.
//
// A namespace is a directory. The name of a data file is a decimal number, its time
// of creation in milliseconds. Files named <number>.hint list some of the keys and no
// deletes; this package does not read them. A data file has up to 1,048,576,000
// bytes, in blocks of 10 MiB. A record does not cross a block boundary, unless it is
// longer than a block: then it begins a run of whole blocks. The unused part of a
// block is zeros.
//
// A record, little-endian:
//
//	flags u8, bit 0: the key is deleted; the others are not used
//	key size u16
//	value size u32
//	key, value
//	checksum u32: the low half of the 64-bit FNV-1a of all bytes before it
//
// walrus itself reads a file only up to the first place without a record, such as the
// unused end of a block, and forgets what comes after it when it is opened again.
//
// What must hold here: every record that validates is found, wherever it is. Bytes
// that are neither a record nor zeros are reported. Nothing is changed. No file,
// whatever its bytes, makes the reader panic, use more memory than the size of the
// file, or run without end: if a crafted file makes the search for records after
// damage too long, the reader gives up the rest of the block.
package walrus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	blockSize     = 10 << 20
	headerSize    = 7
	sumSize       = 4
	minRecordSize = headerSize + sumSize

	deleted = 1 << 0
)

// Dir is a namespace.
type Dir struct {
	files []*dataFile
}

type dataFile struct {
	*os.File
	id   uint64
	size int64
}

// Open opens all data files of a namespace. It is an error if one of them is not a
// regular file.
func Open(path string) (d *Dir, err error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	d = &Dir{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, e := range entries {
		id, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil {
			continue
		}
		if !e.Type().IsRegular() {
			return d, fmt.Errorf("walrus: %s is not a regular file", filepath.Join(path, e.Name()))
		}
		f, err := os.Open(filepath.Join(path, e.Name()))
		if err != nil {
			return d, err
		}
		file := &dataFile{File: f, id: id}
		d.files = append(d.files, file)
		info, err := f.Stat()
		if err != nil {
			return d, err
		}
		file.size = info.Size()
	}
	slices.SortFunc(d.files, func(x, y *dataFile) int {
		if x.id < y.id {
			return -1
		}
		return 1
	})
	return d, nil
}

// Close closes the files.
func (d *Dir) Close() (err error) {
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Len is the number of data files.
func (d *Dir) Len() int { return len(d.files) }

// Size is the total size of the data files in bytes.
func (d *Dir) Size() (bytes int64) {
	for _, f := range d.files {
		bytes += f.size
	}
	return bytes
}

// Name is the path of a data file. Files are numbered in the order of their names,
// which is nearly always the order in which they were written.
func (d *Dir) Name(file int) string { return d.files[file].Name() }

// Record is the location of a record, and its content except for the value.
type Record struct {
	File    int
	Offset  int64
	Size    int64
	Key     []byte // valid until the next record
	Deleted bool
}

// Damage is a range of a file, between two records, with bytes that do not validate
// as a record.
type Damage struct {
	File         int
	Offset, Size int64
	// Tail says that no record follows in the file: the range may be a write that was
	// cut short, and was never acknowledged.
	Tail bool
}

// Scan calls record for each record that validates and damage for each range that does
// not, file by file, in order of offset. It returns record's first error.
func (d *Dir) Scan(record func(Record) error, damage func(Damage)) error {
	s := scan{record: record, damage: damage}
	for i, f := range d.files {
		s.block = slices.Grow(s.block[:0], int(min(blockSize, f.size)))
		s.file, s.number = f, i
		if err := s.run(); err != nil {
			return err
		}
	}
	return nil
}

// Value reads a record's value, and verifies the record again.
func (d *Dir) Value(r Record) ([]byte, error) {
	b := make([]byte, r.Size)
	if _, err := d.files[r.File].ReadAt(b, r.Offset); err != nil {
		return nil, err
	}
	if size, ok := sizeOf(b, r.Size); !ok || size != r.Size || !validates(b) {
		return nil, fmt.Errorf("walrus: %s has changed at %d", d.Name(r.File), r.Offset)
	}
	return b[headerSize+keySize(b) : r.Size-sumSize], nil
}

func keySize(b []byte) int { return int(binary.LittleEndian.Uint16(b[1:])) }

// sizeOf returns the size of the record that b seems to begin with. ok is false if it
// cannot be one, since its flags are unknown or it does not fit into room bytes.
func sizeOf(b []byte, room int64) (size int64, ok bool) {
	if len(b) < headerSize || b[0]&^deleted != 0 {
		return 0, false
	}
	size = minRecordSize + int64(keySize(b)) + int64(binary.LittleEndian.Uint32(b[3:]))
	return size, size <= room
}

// validates reports whether the checksum of the record b matches.
func validates(b []byte) bool {
	h := fnv.New64a()
	h.Write(b[:len(b)-sumSize])
	return uint32(h.Sum64()) == binary.LittleEndian.Uint32(b[len(b)-sumSize:])
}

// scan reads one file after another.
type scan struct {
	record func(Record) error
	damage func(Damage)

	file   *dataFile
	number int
	block  []byte // the bytes of one block
	base   int64  // where it begins

	pending  *Damage // not reported yet: its Tail depends on whether a record follows
	gaveUp   bool    // part of the file was not searched
	longLeft int64   // how many bytes of records longer than a block may still be summed in vain
}

// patience is how many bytes the search for records after damage may sum in vain in
// one block before it gives up the rest of the block.
const patience = 32 * blockSize

func (s *scan) run() error {
	s.pending, s.gaveUp, s.longLeft = nil, false, 2*s.file.size
	for s.base = 0; s.base < s.file.size; {
		s.block = s.block[:min(blockSize, s.file.size-s.base)]
		if _, err := s.file.ReadAt(s.block, s.base); err != nil {
			return err
		}
		if long, err := s.longRecord(); err != nil {
			return err
		} else if long > 0 {
			s.base += (long + blockSize - 1) / blockSize * blockSize
			continue
		}
		if err := s.readBlock(); err != nil {
			return err
		}
		s.base += blockSize
	}
	s.tell(true)
	return nil
}

// longRecord reports the record that begins at s.base if it is longer than a block,
// and returns its size, or 0 if there is none.
func (s *scan) longRecord() (size int64, err error) {
	size, ok := sizeOf(s.block, s.file.size-s.base)
	if !ok || size <= blockSize {
		return 0, nil
	}
	if s.longLeft < 0 {
		s.gaveUp = true
		return 0, nil
	}
	s.longLeft -= size
	h := fnv.New64a()
	if _, err := io.Copy(h, io.NewSectionReader(s.file, s.base, size-sumSize)); err != nil {
		return 0, err
	}
	var sum [sumSize]byte
	if _, err := s.file.ReadAt(sum[:], s.base+size-sumSize); err != nil {
		return 0, err
	}
	if uint32(h.Sum64()) != binary.LittleEndian.Uint32(sum[:]) {
		return 0, nil
	}
	s.longLeft += size
	return size, s.found(0, size)
}

// readBlock finds the records of a block.
func (s *scan) readBlock() error {
	left := patience // bytes
	for at := 0; at < len(s.block); {
		n := zeros(s.block[at:])
		if n == len(s.block)-at {
			break
		}
		if n >= minRecordSize { // a record begins with fewer zeros than this
			at += n - minRecordSize + 1
		}
		size, ok := sizeOf(s.block[at:], int64(len(s.block)-at))
		s.gaveUp = s.gaveUp || ok && left <= 0
		if ok && left > 0 {
			if validates(s.block[at:][:size]) {
				if err := s.found(at, size); err != nil {
					return err
				}
				at += int(size)
				continue
			}
			left -= int(size)
			if s.recordAt(at + int(size)) { // its own length is right
				s.lost(s.base + int64(at))
				s.lost(s.base + int64(at) + size - 1)
				at += int(size)
				continue
			}
		}
		if s.block[at] != 0 {
			s.lost(s.base + int64(at))
		}
		at++
	}
	return nil
}

// recordAt reports whether a record begins at an offset of the block.
func (s *scan) recordAt(at int) bool {
	size, ok := sizeOf(s.block[at:], int64(len(s.block)-at))
	return ok && validates(s.block[at:][:size])
}

// zeros counts the zeros at the start of b.
func zeros(b []byte) int { return len(b) - len(bytes.TrimLeft(b, "\x00")) }

// found reports a record in the block.
func (s *scan) found(at int, size int64) error {
	s.tell(false)
	b := s.block[at:]
	return s.record(Record{
		File: s.number, Offset: s.base + int64(at), Size: size,
		Key: b[headerSize:][:keySize(b)], Deleted: b[0]&deleted != 0,
	})
}

// lost adds a byte at which no record begins to the pending damage.
func (s *scan) lost(offset int64) {
	if s.pending == nil {
		s.pending = &Damage{File: s.number, Offset: offset}
	}
	s.pending.Size = offset + 1 - s.pending.Offset
}

// tell reports the pending damage.
func (s *scan) tell(tail bool) {
	if s.pending != nil {
		s.pending.Tail = tail && !s.gaveUp
		s.damage(*s.pending)
		s.pending = nil
	}
}
