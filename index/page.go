package index

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// bucket is the number of a page. The hashes of a page are those whose low bits are its bucket.
type bucket uint64

// page holds the keys of one bucket in an open-addressed table with linear probing. Its range, its
// capacity and the owner of each used slot never change: a change to these builds a new page.
type page struct {
	// Readers use these fields, in a cache line that no writer touches.

	slots  []uint64 // two words a slot, hash and location, both read and written atomically; hash 0: never used
	bucket bucket
	mask   uint64 // selects the low bits of a hash that name the bucket
	_      [24]byte

	mu rank.Mutex[rank.Page] // guards the fields below, every write to slots, and the entry of this page in the map

	checks  []uint32 // the other 32 bits of each slot's fingerprint
	used    int      // slots with a hash
	live    int      // slots with a location
	retired bool     // another page has replaced this one
}

const (
	wordsPerSlot = 2
	bytesPerSlot = 8*wordsPerSlot + 4
)

// newPage returns an empty page for the hashes with h&mask == b.
func newPage(b bucket, mask uint64, capacity int) *page {
	p := &page{
		bucket: b,
		mask:   mask,
		slots:  make([]uint64, wordsPerSlot*capacity),
		checks: make([]uint32, capacity),
	}
	prefetch.Pages(p.slots)
	prefetch.Pages(p.checks)
	return p
}

// capacityFor is the capacity in slots of a page built for the given number of keys: 5/8 full,
// which leaves room for 2/5 more keys.
func capacityFor(keys, minSlots int) int { return max(minSlots, keys*8/5+1) }

// fullSlots is how many slots of a page may be used: 7/8. It is always less than the capacity,
// because a probe ends at a slot that was never used.
func fullSlots(capacity int) int { return capacity - capacity/8 - 1 }

// covers reports whether the page is the one for hash.
func (p *page) covers(hash uint64) bool { return hash&p.mask == uint64(p.bucket) }

// capacity is the number of slots.
func (p *page) capacity() int { return len(p.checks) }

// start is the word at which the probe for hash begins. It depends on the high half of the hash,
// since all keys of a page share the low bits.
func start(hash uint64, words int) int {
	return int((hash>>32)*uint64(words/wordsPerSlot)>>32) * wordsPerSlot
}

// prefetch starts to load the memory of the slot that a fingerprint with this hash has or would get, and does not wait
// for it.
func (p *page) prefetch(hash uint64) {
	word := start(hash, len(p.slots))
	prefetch.Line(unsafe.Pointer(&p.slots[word]))
	prefetch.Line(unsafe.Pointer(&p.checks[word/wordsPerSlot]))
}

// slot is the slot that a fingerprint has or would get, in a page whose mutex is held. It is small enough to stay in
// registers.
type slot struct {
	word  int // the first one
	taken bool
	old   Location
}

// keyDelta is by how much the number of keys changes if the slot gets this location.
func (s slot) keyDelta(location Location) int64 {
	switch {
	case s.old == NoLocation && location != NoLocation:
		return 1
	case s.old != NoLocation && location == NoLocation:
		return -1
	}
	return 0
}

// slotLocked finds the fingerprint's slot, or a free one for it.
func (p *page) slotLocked(fp Fingerprint) slot {
	word := start(fp.Hash, len(p.slots))
	for p.slots[word] != 0 {
		if p.slots[word] == fp.Hash && p.checks[word/wordsPerSlot] == fp.Check {
			return slot{word, true, Location(p.slots[word+1])}
		}
		if word += wordsPerSlot; word == len(p.slots) {
			word = 0
		}
	}
	return slot{word: word}
}

// takeLocked gives a never-used slot to a fingerprint, for the rest of the page's life. It stores
// the location first, so that a reader that sees the hash finds the location.
func (p *page) takeLocked(word int, fp Fingerprint, location Location) {
	p.checks[word/wordsPerSlot] = fp.Check
	atomic.StoreUint64(&p.slots[word+1], uint64(location))
	atomic.StoreUint64(&p.slots[word], fp.Hash)
	p.used++
	p.live++
}

// updateLocked gives a taken slot another location, or NoLocation.
func (p *page) updateLocked(word int, location Location) {
	old := Location(p.slots[word+1])
	atomic.StoreUint64(&p.slots[word+1], uint64(location))
	switch {
	case old == NoLocation && location != NoLocation:
		p.live++
	case old != NoLocation && location == NoLocation:
		p.live--
	}
}

// add puts a fingerprint into a page that has room for it and that no other goroutine can see yet.
func (p *page) add(fp Fingerprint, location Location) {
	word := start(fp.Hash, len(p.slots))
	for p.slots[word] != 0 {
		if word += wordsPerSlot; word == len(p.slots) {
			word = 0
		}
	}
	p.slots[word], p.slots[word+1] = fp.Hash, uint64(location)
	p.checks[word/wordsPerSlot] = fp.Check
	p.used++
	p.live++
}

// eachLocked calls fn for every key with a location.
func (p *page) eachLocked(fn func(fp Fingerprint, location Location)) {
	for slot, check := range p.checks {
		word := wordsPerSlot * slot
		if location := Location(p.slots[word+1]); location != NoLocation {
			fn(Fingerprint{Hash: p.slots[word], Check: check}, location)
		}
	}
}

// sparseLocked reports whether a rebuild would free more than half of the page.
func (p *page) sparseLocked(minSlots int) bool {
	quarter := p.capacity() / 4
	return p.live <= quarter && p.used-p.live >= quarter && p.capacity() > 2*minSlots
}

// rebuiltLocked returns a page with the same keys and a capacity that has room for more.
func (p *page) rebuiltLocked(capacity int) *page {
	fresh := newPage(p.bucket, p.mask, capacity)
	p.eachLocked(fresh.add)
	return fresh
}

// splitLocked returns two pages that share the keys by the next bit of the hash. room says for how many keys each is
// made at least.
func (p *page) splitLocked(minSlots int, room func(b bucket, mask uint64) int) (low, high *page) {
	bit := p.mask + 1
	highKeys := 0
	p.eachLocked(func(fp Fingerprint, _ Location) {
		if fp.Hash&bit != 0 {
			highKeys++
		}
	})
	mask := p.mask | bit
	half := func(b bucket, keys int) *page {
		return newPage(b, mask, capacityFor(max(keys, room(b, mask)), minSlots))
	}
	low, high = half(p.bucket, p.live-highKeys), half(p.bucket|bucket(bit), highKeys)
	p.eachLocked(func(fp Fingerprint, location Location) {
		if fp.Hash&bit == 0 {
			low.add(fp, location)
		} else {
			high.add(fp, location)
		}
	})
	return low, high
}

// bytes is the memory that the page takes, including its share of the map.
func (p *page) bytes() int64 {
	const overhead = 128 + 16 + 24 // the page struct, its map entry, its part of a map bucket
	return overhead + bytesPerSlot*int64(p.capacity())
}

// reversed is the range of bit-reversed hashes that the page covers: where it begins, and where the
// next one begins, or 0 for the last page. A split cuts such a range in two.
func (p *page) reversed() (from, next uint64) {
	from = bits.Reverse64(uint64(p.bucket))
	return from, from + ^bits.Reverse64(p.mask) + 1
}
