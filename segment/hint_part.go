package segment

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sort"
)

const (
	partEntries = 32      // in a part, at most
	partBytes   = 4 << 10 // of a part with more than one entry, at most

	placeSize     = 2                // of each entry in its part
	minPartSize   = Alignment        // of a part with one short entry
	maxPartSize   = 68 << 10         // of a part with the longest entry, rounded up
	directorySize = prefixSize + 3*4 // of a line of the directory
	boundFrom     = hintVersionAt    // the bytes of the header, from here
	boundTo       = hintCountAt      // to here, go into the checksum of each part

	// maxPartOverhead is what a part takes beside two bytes for each byte of its records.
	maxPartOverhead = 64
)

// boundSum is the CRC of what ties a part to its hint: the version, the id of the segment, how much
// of it is covered, and the number of damaged ranges.
func boundSum(header []byte) uint32 {
	return crc32.Checksum(header[boundFrom:boundTo], castagnoli)
}

func partSeal(bound uint32, part []byte, place int64, salt uint64) uint32 {
	return seal(crc32.Update(bound, castagnoli, part), salt, place, rolePart)
}

// Part is a part of a Table: up to 32 entries, which were checked together. The zero value is
// ready to be read into, and reading into it again reuses its memory. Not for concurrent use.
type Part struct {
	data   []byte // places, prefix, entries, padding
	count  int
	start  int // of the entries, in data
	base   uint64
	covers int64

	buf []byte // what was read, if it was read
	key []byte // of the entry that At returned last; prefix is its start
}

// Len is the number of entries.
func (p *Part) Len() int { return p.count }

// set makes p the part of count entries in data. It returns false for a part that no builder
// writes. The checksum was checked.
func (p *Part) set(data []byte, count int) bool {
	if len(data) < count*placeSize || len(data) > partBytes && count > 1 {
		return false
	}
	p.data, p.count = data, count
	p.start = p.entryPlace(0)
	if p.start < count*placeSize || p.start > len(data) {
		return false
	}
	p.key = append(p.key[:0], p.prefix()...)
	return true
}

// prefix is what all keys of the part begin with.
func (p *Part) prefix() []byte { return p.data[p.count*placeSize : p.start] }

// entryPlace is where the i-th entry begins in the part.
func (p *Part) entryPlace(i int) int {
	return int(binary.LittleEndian.Uint16(p.data[i*placeSize:]))
}

// suffix is the i-th key without the prefix, or nil and false for an entry that no builder writes.
func (p *Part) suffix(i int) ([]byte, bool) {
	place := p.entryPlace(i)
	if place > len(p.data) {
		return nil, false
	}
	key, _, _, ok := entryKey(p.data[place:])
	return key, ok
}

// At is the i-th entry. Its key is valid until the next call. At returns false for an entry that no
// builder writes: the checksum was forged, or memory changed since it was checked.
func (p *Part) At(i int) (e HintEntry, ok bool) {
	ok = p.read(i, &e)
	return e, ok
}

func (p *Part) read(i int, e *HintEntry) bool {
	place := p.entryPlace(i)
	if place < p.start || place > len(p.data) {
		return false
	}
	if _, ok := cutEntry(e, p.data[place:], p.base); !ok || !e.isWithin(p.covers) {
		return false
	}
	prefix := p.start - placeSize*p.count
	if prefix+len(e.Key) > MaxKeySize {
		return false
	}
	p.key = append(p.key[:prefix], e.Key...)
	e.Key = p.key
	return true
}

// Seek is the number of the first entry whose key is not below the given one, Len if there is none.
// It returns false if it meets an entry that no builder writes.
func (p *Part) Seek(key []byte) (i int, ok bool) {
	prefix := p.prefix()
	if !bytes.HasPrefix(key, prefix) {
		if bytes.Compare(key, prefix) < 0 {
			return 0, true
		}
		return p.count, true
	}
	key, ok = key[len(prefix):], true
	i = sort.Search(p.count, func(i int) bool {
		suffix, fine := p.suffix(i)
		ok = ok && fine
		return bytes.Compare(suffix, key) >= 0
	})
	return i, ok
}
