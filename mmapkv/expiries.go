package mmapkv

import (
	"math"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/segment"
)

// expiries says where in a file the records lie that expire, and when the first of
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
type expiries struct {
	first  atomic.Int64   // when the first one is due, in Unix milliseconds
	firsts []atomic.Int64 // the same of each chunk
	chunks []atomic.Pointer[expiryChunk]
}

// expiryChunk has the entries of blocks next to each other. It has no pointers, so a
// garbage collection does not look into it.
type expiryChunk [expiryBlocks]atomic.Uint64

const (
	expiryBlock  = 4 << 10 // bytes of a file in which the records that begin have one entry
	expiryBlocks = 512     // in a chunk
)

// expiryEntry is one block's: when the first of its records is due, in Unix
// milliseconds, above where the first of them begins in the block, in units of
// segment.Alignment. 0: none of them expires.
type expiryEntry uint64

const (
	placeBits = 9                     // for expiryBlock / segment.Alignment
	latest    = 1<<(64-placeBits) - 1 // milliseconds, in a million years
	never     = math.MaxInt64
)

func makeExpiryEntry(offset, due int64) expiryEntry {
	place := uint64(offset % expiryBlock / segment.Alignment)
	return expiryEntry(uint64(min(max(due, 1), latest))<<placeBits | place)
}

// due is when the first record expires.
func (e expiryEntry) due() int64 {
	if due := int64(e >> placeBits); due > 0 && due < latest {
		return due
	}
	return never
}

// place is where in its block the first record begins, in bytes.
func (e expiryEntry) place() int64 {
	return int64(e&(1<<placeBits-1)) * segment.Alignment
}

// and is the entry for the records of both.
func (e expiryEntry) and(other expiryEntry) expiryEntry {
	if e == 0 || other == 0 {
		return e | other
	}
	const places = 1<<placeBits - 1
	return min(e&^places, other&^places) | min(e&places, other&places)
}

// newExpiries is for a file in which no record begins behind size.
func newExpiries(size int64) *expiries {
	const chunkBytes = expiryBlock * expiryBlocks
	chunks := (size + chunkBytes - 1) / chunkBytes
	t := &expiries{firsts: make([]atomic.Int64, chunks), chunks: make([]atomic.Pointer[expiryChunk], chunks)}
	t.first.Store(never)
	for i := range t.firsts {
		t.firsts[i].Store(never)
	}
	return t
}

// add adds the record at an offset, and says whether it expires before all others.
func (t *expiries) add(offset, expiry int64) (first bool) {
	block := offset / expiryBlock
	chunk := block / expiryBlocks
	entry := &t.chunk(chunk)[block%expiryBlocks]
	one := makeExpiryEntry(offset, expiry)
	for {
		old := entry.Load()
		both := uint64(expiryEntry(old).and(one))
		if both == old || entry.CompareAndSwap(old, both) {
			break
		}
	}
	lower(&t.firsts[chunk], one.due())
	return lower(&t.first, one.due())
}

func (t *expiries) chunk(i int64) *expiryChunk {
	chunk := t.chunks[i].Load()
	if chunk == nil {
		t.chunks[i].CompareAndSwap(nil, new(expiryChunk))
		chunk = t.chunks[i].Load()
	}
	return chunk
}

// lower makes a time the earlier one of what it is and at, and says whether it has
// become at.
func lower(to *atomic.Int64, at int64) bool {
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

// expiriesOf makes what the file has no more of than one. No record of it begins
// behind size.
func (f *file) expiriesOf(size int64) *expiries {
	t := f.expiring.Load()
	if t == nil {
		f.expiring.CompareAndSwap(nil, newExpiries(size))
		t = f.expiring.Load()
	}
	return t
}
