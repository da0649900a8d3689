// Package expiry says where in a segment the records lie that expire, and when the next
// of them does.
package expiry

import (
	"math"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/segment"
)

// Table says where in a file the records lie that expire, and when the first of
// them does, by blocks: for each block of the file with such records that the index
// points to one word, that is 8 bytes for 4 KiB. A file without them has none.
//
// What must hold: a record that expires, and that the index points to, is in a block
// whose entry begins no later than it and is due no later. first and firsts are no
// later than any entry below them. So whoever adds goes upwards, from the entry to
// first; whoever takes entries out resets first, then firsts, then the entries, and
// puts back what is left in the end.
//
// All methods may be called by any number of goroutines at once.
type Table struct {
	First  atomic.Int64   // when the first one is due, in Unix milliseconds
	Firsts []atomic.Int64 // the same of each chunk
	chunks []atomic.Pointer[Chunk]
}

// Chunk has the entries of blocks next to each other. It has no pointers, so a
// garbage collection does not look into it.
type Chunk [ChunkBlocks]atomic.Uint64

const (
	Block       = 4 << 10 // bytes of a file in which the records that begin have one entry
	ChunkBlocks = 512     // in a chunk
)

// Entry is one block's: when the first of its records is due, in Unix
// milliseconds, above where the first of them begins in the block, in units of
// segment.Alignment. 0: none of them expires.
type Entry uint64

const (
	placeBits = 9                     // for expiryBlock / segment.Alignment
	latest    = 1<<(64-placeBits) - 1 // milliseconds, in a million years
	Never     = math.MaxInt64
)

func makeEntry(offset, due int64) Entry {
	place := uint64(offset % Block / segment.Alignment)
	return Entry(uint64(min(max(due, 1), latest))<<placeBits | place)
}

// Due is when the first record expires.
func (e Entry) Due() int64 {
	if due := int64(e >> placeBits); due > 0 && due < latest {
		return due
	}
	return Never
}

// Place is where in its block the first record begins, in bytes.
func (e Entry) Place() int64 {
	return int64(e&(1<<placeBits-1)) * segment.Alignment
}

// and is the entry for the records of both.
func (e Entry) and(other Entry) Entry {
	if e == 0 || other == 0 {
		return e | other
	}
	const places = 1<<placeBits - 1
	return min(e&^places, other&^places) | min(e&places, other&places)
}

// NewTable is for a file in which no record begins behind size.
func NewTable(size int64) *Table {
	const chunkBytes = Block * ChunkBlocks
	chunks := (size + chunkBytes - 1) / chunkBytes
	t := &Table{Firsts: make([]atomic.Int64, chunks), chunks: make([]atomic.Pointer[Chunk], chunks)}
	t.First.Store(Never)
	for i := range t.Firsts {
		t.Firsts[i].Store(Never)
	}
	return t
}

// Add adds the record at an offset, and says whether it expires before all others.
func (t *Table) Add(offset, expiry int64) (first bool) {
	block := offset / Block
	chunk := block / ChunkBlocks
	entry := &t.Chunk(chunk)[block%ChunkBlocks]
	one := makeEntry(offset, expiry)
	for {
		old := entry.Load()
		both := uint64(Entry(old).and(one))
		if both == old || entry.CompareAndSwap(old, both) {
			break
		}
	}
	Lower(&t.Firsts[chunk], one.Due())
	return Lower(&t.First, one.Due())
}

func (t *Table) Chunk(i int64) *Chunk {
	chunk := t.chunks[i].Load()
	if chunk == nil {
		t.chunks[i].CompareAndSwap(nil, new(Chunk))
		chunk = t.chunks[i].Load()
	}
	return chunk
}

// Lower makes a time the earlier one of what it is and at, and says whether it has
// become at.
func Lower(to *atomic.Int64, at int64) bool {
	for {
		old := to.Load()
		if old <= at {
			return false
		}
		if to.CompareAndSwap(old, at) {
			return true
		}
	}
}
