package order

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// filter says of most keys that a table does not have that it does not, so that Find asks few tables.
// It is a Bloom filter of the hashes of all keys of the table, tombstones too, in blocks of one cache
// line.
//
// What must hold:
//
//   - It answers for the very table that it was made of, and not before it has all its keys.
//   - It is made by those who use it: each Find that had to ask a table without one adds a few keys to
//     one filter. So nobody waits for a filter, and a store in which Find asks no tables has none.
//   - A table with a part that cannot be read has none.
type filter struct {
	table  *hints.Hint
	blocks []filterBlock
	whole  atomic.Bool // all keys are in it
	busy   atomic.Bool // a goroutine adds keys, and has what follows
	keys   *segment.Cursor
	failed bool // a part of the table cannot be read
}

// filterBlock has the bits of some keys.
type filterBlock [8]uint64

const (
	filterBits = 10  // for each key
	filterAsks = 5   // bits that are set for a key
	filterStep = 256 // keys that are added at a time
)

// newFilter makes the filter of a table, without keys.
func newFilter(t *hints.Hint) *filter {
	const blockBits = 64 * len(filterBlock{})
	return &filter{table: t, blocks: make([]filterBlock, 1+t.Len()*filterBits/blockBits), keys: t.Cursor()}
}

// block returns the block of a hash, and the places of its bits, nine bits for each.
func (f *filter) block(hash uint64) (b *filterBlock, places uint64) {
	const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
	mixed := hash * golden
	at, _ := bits.Mul64(mixed, uint64(len(f.blocks)))
	return &f.blocks[at], mixed * golden
}

// mayHave reports whether the table may have a key with the hash.
func (f *filter) mayHave(hash uint64) bool {
	b, places := f.block(hash)
	for range filterAsks {
		if b[places>>6&7]>>(places&63)&1 == 0 {
			return false
		}
		places >>= 9
	}
	return true
}

// add adds a key's hash.
func (f *filter) add(hash uint64) {
	b, places := f.block(hash)
	for range filterAsks {
		b[places>>6&7] |= 1 << (places & 63)
		places >>= 9
	}
}

// step adds the next keys of the table, unless another goroutine is doing that.
func (f *filter) step(hash func(key []byte) uint64) {
	if f.whole.Load() || !f.busy.CompareAndSwap(false, true) {
		return
	}
	defer f.busy.Store(false)
	for range filterStep {
		if f.failed || f.whole.Load() {
			return
		}
		more := false
		if f.keys.Valid() {
			more = f.keys.Next()
		} else {
			more = f.keys.First()
		}
		switch {
		case f.keys.Err() != nil:
			f.failed = true
		case more:
			f.add(hash(f.keys.Entry().Key))
		default:
			f.keys = nil
			f.whole.Store(true)
		}
	}
}

// filterOf returns the source's filter of a table if it is whole, nil otherwise.
func (s *source) filterOf(t *hints.Hint) *filter {
	if f := s.filter.Load(); f != nil && f.table == t && f.whole.Load() {
		return f
	}
	return nil
}

// stepFilter adds keys to the source's filter of a table, or begins it.
func (s *source) stepFilter(t *hints.Hint, hash func(key []byte) uint64) {
	f := s.filter.Load()
	if f == nil || f.table != t {
		fresh := newFilter(t)
		if !s.filter.CompareAndSwap(f, fresh) {
			return
		}
		f = fresh
	}
	f.step(hash)
}

// prefetchFilters requests the memory that the filters of sources will read for a hash, so that one
// who asks them all waits only once.
func prefetchFilters(sources []*source, hash uint64) {
	for _, one := range sources {
		if f := one.filter.Load(); f != nil {
			b, _ := f.block(hash)
			prefetch.Line(unsafe.Pointer(b))
		}
	}
}

// bytes is the memory that the filter takes.
func (f *filter) bytes() int64 { return int64(len(f.blocks)) * int64(unsafe.Sizeof(filterBlock{})) }
