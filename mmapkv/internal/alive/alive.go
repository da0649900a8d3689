// Package alive says which records of a file are alive: those that the index points to.
//
// What must hold:
//
//   - A bit begins as 0. It is set before the record's location enters the index, and cleared after
//     the location has left the index or was refused. So a record whose bit is 0 is dead, or not
//     yet published. A record whose bit is 1 may be dead for a moment longer.
//   - Tombstones never have their bit set.
//   - A file that a compaction has replaced keeps the bits of the records that were moved. Its
//     Dropped says so, to those who still use it.
//   - While the index is being loaded a bit says nothing: catalog.Catalog.Loaded.
//
// A record begins in one place of PlaceSize bytes, and no record is smaller, so no two records share
// a bit. The bits of a file of the smallest records take 1/192 of its size. They are made in pieces
// where they are needed, so those of a file of large records take next to nothing.
package alive

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// PlaceSize is how many bytes of a file share a bit: the size of the smallest record.
const PlaceSize = segment.RecordHeaderSize

const (
	wordBits    = 64
	pieceWords  = 32 // of one piece, which has the bits of 48 KiB of the file
	pieceBits   = pieceWords * wordBits
	chunkPieces = 64 // of one chunk, which finds the pieces of 3 MiB
	chunkBits   = chunkPieces * pieceBits
)

// piece is neighbouring bits. It has no pointers, so a garbage collection does not look into it.
type piece [pieceWords]atomic.Uint64

// chunk finds neighbouring pieces; nil: none of its bits was ever set.
type chunk [chunkPieces]atomic.Pointer[piece]

// Bits are the bits of one file. Call Cover first. All other methods may be called by any number of
// goroutines at once.
type Bits struct {
	chunks []atomic.Pointer[chunk]
	made   atomic.Int64 // bytes of chunks and pieces
}

// Cover makes room for the records of a file of the given size in bytes.
func (b *Bits) Cover(size int64) {
	places := min(size, segment.MaxOffset+segment.Alignment) / PlaceSize
	b.chunks = make([]atomic.Pointer[chunk], places/chunkBits+1)
}

// Set marks the record at an offset as alive.
func (b *Bits) Set(offset int64) {
	place := uint64(offset) / PlaceSize
	b.ensure(place)[place%pieceBits/wordBits].Or(1 << (place % wordBits))
}

// Clear marks the record at an offset as dead.
func (b *Bits) Clear(offset int64) {
	place := uint64(offset) / PlaceSize
	if p := b.piece(place); p != nil {
		p[place%pieceBits/wordBits].And(^(uint64(1) << (place % wordBits)))
	}
}

// Test reports whether the record at an offset is alive.
func (b *Bits) Test(offset int64) bool {
	place := uint64(offset) / PlaceSize
	p := b.piece(place)
	return p != nil && p[place%pieceBits/wordBits].Load()&(1<<(place%wordBits)) != 0
}

// Next finds the first record that is alive, among those that begin in the place of an offset or
// after it. It begins less than PlaceSize bytes after at. ok is false if there is none.
func (b *Bits) Next(offset int64) (at int64, ok bool) {
	for place := uint64(offset) / PlaceSize; place < uint64(len(b.chunks))*chunkBits; {
		c := b.chunks[place/chunkBits].Load()
		if c == nil {
			place = (place/chunkBits + 1) * chunkBits
			continue
		}
		p := c[place%chunkBits/pieceBits].Load()
		if p == nil {
			place = (place/pieceBits + 1) * pieceBits
			continue
		}
		if word := p[place%pieceBits/wordBits].Load() >> (place % wordBits); word != 0 {
			return int64(place+uint64(bits.TrailingZeros64(word))) * PlaceSize, true
		}
		place = (place/wordBits + 1) * wordBits
	}
	return 0, false
}

// SamePlace reports whether two offsets lie in one place.
func SamePlace(x, y int64) bool { return x/PlaceSize == y/PlaceSize }

// Prefetch asks for the memory of the bit of the record at an offset, which is about to be cleared.
func (b *Bits) Prefetch(offset int64) {
	place := uint64(offset) / PlaceSize
	if p := b.piece(place); p != nil {
		prefetch.Line(unsafe.Pointer(&p[place%pieceBits/wordBits]))
	}
}

// Count returns the number of records that are alive.
func (b *Bits) Count() (n int) {
	for i := range b.chunks {
		c := b.chunks[i].Load()
		for j := 0; c != nil && j < chunkPieces; j++ {
			p := c[j].Load()
			for k := 0; p != nil && k < pieceWords; k++ {
				n += bits.OnesCount64(p[k].Load())
			}
		}
	}
	return n
}

// Bytes returns the memory that the bits take.
func (b *Bits) Bytes() int64 {
	return int64(len(b.chunks))*int64(unsafe.Sizeof(b.chunks[0])) + b.made.Load()
}

// piece returns the piece with the bit of a place, nil if there is none.
func (b *Bits) piece(place uint64) *piece {
	if place/chunkBits >= uint64(len(b.chunks)) {
		return nil
	}
	c := b.chunks[place/chunkBits].Load()
	if c == nil {
		return nil
	}
	return c[place%chunkBits/pieceBits].Load()
}

// ensure returns the piece with the bit of a place, and makes it if there is none.
func (b *Bits) ensure(place uint64) *piece {
	if p := b.piece(place); p != nil {
		return p
	}
	c := made(&b.chunks[place/chunkBits], &b.made)
	return made(&c[place%chunkBits/pieceBits], &b.made)
}

// made returns what a pointer points to, and makes it if the pointer is nil. It adds the size to
// bytes.
func made[T any](at *atomic.Pointer[T], bytes *atomic.Int64) *T {
	if old := at.Load(); old != nil {
		return old
	}
	fresh := new(T)
	if at.CompareAndSwap(nil, fresh) {
		bytes.Add(int64(unsafe.Sizeof(*fresh)))
		return fresh
	}
	return at.Load()
}
