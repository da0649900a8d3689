// Package expiry says where in a file the records that expire lie, when the next of them does,
// and which of them the sweep takes out while a compaction reads the file.
//
// What must hold:
//
//   - A record that expires, and that the index points to, lies in a block whose entry begins no
//     later than the record and is due no later.
//   - Table.First and Table.Firsts are no later than any entry below them.
//
// So whoever adds a record goes upwards, from the entry to First. Whoever takes entries out
// resets First, then Firsts, then the entries, and in the end puts back what is left.
package expiry

import (
	"math"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/segment"
)

// Table says where in a file the records that expire lie, and when the first of them does. It
// takes 8 bytes for each block of 4 KiB that has such a record. A file without such records has
// no table. All methods may be called by any number of goroutines at once.
type Table struct {
	First  atomic.Int64   // when the first record is due, in Unix milliseconds, or Never
	Firsts []atomic.Int64 // the same for each chunk
	chunks []atomic.Pointer[Chunk]
}

// Chunk has the entries of neighbouring blocks: each is an Entry. It has no pointers, so a
// garbage collection does not look into it.
type Chunk [ChunkBlocks]atomic.Uint64

const (
	// Block is the size of a block, in bytes of the file. The records that begin in it share
	// one entry.
	Block = 4 << 10
	// ChunkBlocks is the number of blocks in a chunk.
	ChunkBlocks = 512
	// Never is later than any time, in Unix milliseconds.
	Never = math.MaxInt64
)

// NewTable makes an empty table for a file in which no record begins after the offset size.
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

// Add adds the record at an offset, which expires at a time in Unix milliseconds, and reports
// whether it expires before all others.
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

// Chunk returns the i-th chunk, and makes it if there is none.
func (t *Table) Chunk(i int64) *Chunk {
	chunk := t.chunks[i].Load()
	if chunk == nil {
		t.chunks[i].CompareAndSwap(nil, new(Chunk))
		chunk = t.chunks[i].Load()
	}
	return chunk
}

// Lower lowers a time to at, unless it is no later already, and reports whether it did.
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

// Entry is the entry of one block; 0 if no record in it expires. The high bits say when the
// first of them is due, in Unix milliseconds. The low placeBits say where in the block the first
// of them begins, in units of segment.Alignment. These may be two different records.
type Entry uint64

const (
	placeBits = 9                     // enough for Block / segment.Alignment
	latest    = 1<<(64-placeBits) - 1 // milliseconds: a million years from now
)

// makeEntry returns the entry of a block whose only record is at an offset of the file.
func makeEntry(offset, due int64) Entry {
	place := uint64(offset % Block / segment.Alignment)
	return Entry(uint64(min(max(due, 1), latest))<<placeBits | place)
}

// Due returns when the first record of the block is due, in Unix milliseconds, or Never.
func (e Entry) Due() int64 {
	if due := int64(e >> placeBits); due > 0 && due < latest {
		return due
	}
	return Never
}

// Place returns where in the block the first record that expires begins, in bytes.
func (e Entry) Place() int64 {
	return int64(e&(1<<placeBits-1)) * segment.Alignment
}

// and returns the entry for the records of both.
func (e Entry) and(other Entry) Entry {
	if e == 0 || other == 0 {
		return e | other
	}
	const places = 1<<placeBits - 1
	return min(e&^places, other&^places) | min(e&places, other&places)
}
