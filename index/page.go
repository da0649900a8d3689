package index

import (
	"math/bits"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// bucket is the number of a page. The hashes of a page are those whose low bits are its bucket.
type bucket uint64

// page holds the keys of one bucket in an open-addressed table with linear probing. Its range, its capacity and the
// owner of each used slot never change; what has to change them builds another page.
type page struct {
	// For readers, in a cache line that no writer touches.

	slots  []uint64 // two words a slot, hash and location, both read and written atomically; hash 0: never used
	bucket bucket
	mask   uint64 // the low bits of a hash that the bucket decides
	_      [24]byte

	mu rank.Mutex[rank.Page] // guards the fields below, every write to slots, and the place of this page in the directory

	checks  []uint32 // the other 32 bits of each slot's fingerprint
	used    int      // slots with a hash
	live    int      // slots with a location
	retired bool     // another page has taken this one's place
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

// capacityFor is the capacity in slots of a page built for so many keys: 5/8 full, so that 2/5 more can come.
func capacityFor(keys, minSlots int) int { return max(minSlots, keys*8/5+1) }

// fullSlots is how many slots of a page may be used, 7/8. It is less than the capacity, always: a probe ends at a slot
// that was never used.
func fullSlots(capacity int) int { return capacity - capacity/8 - 1 }

// covers reports whether the page is the one for hash.
func (p *page) covers(hash uint64) bool { return hash&p.mask == uint64(p.bucket) }

// capacity counts the page's slots.
func (p *page) capacity() int { return len(p.checks) }

// start is the word at which the probe for hash begins. The high half of the hash decides, since the low bits are the
// same for all of a page.
func start(hash uint64, words int) int {
	return int((hash>>32)*uint64(words/wordsPerSlot)>>32) * wordsPerSlot
}

// findLocked returns the word at which the slot of a fingerprint begins, and whether the slot is that fingerprint's or
// free for it.
func (p *page) findLocked(fp Fingerprint) (word int, taken bool) {
	for word = start(fp.Hash, len(p.slots)); p.slots[word] != 0; {
		if p.slots[word] == fp.Hash && p.checks[word/wordsPerSlot] == fp.Check {
			return word, true
		}
		if word += wordsPerSlot; word == len(p.slots) {
			word = 0
		}
	}
	return word, false
}

// takeLocked gives a slot that was never used to a fingerprint, for the rest of the page's life. The location goes
// first: a reader that sees the hash finds it.
func (p *page) takeLocked(word int, fp Fingerprint, location Location) {
	p.checks[word/wordsPerSlot] = fp.Check
	atomic.StoreUint64(&p.slots[word+1], uint64(location))
	atomic.StoreUint64(&p.slots[word], fp.Hash)
	p.used++
	p.live++
}

// updateLocked gives a taken slot another location, NoLocation included.
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

// add puts a fingerprint into a page that nobody else can see yet and that has room for it.
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

// sparseLocked reports whether most of the page is waste: rebuilding it then gives more than half of it back.
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

// splitLocked returns two pages that share the keys by the next bit of the hash.
func (p *page) splitLocked(minSlots int) (low, high *page) {
	bit := p.mask + 1
	highKeys := 0
	p.eachLocked(func(fp Fingerprint, _ Location) {
		if fp.Hash&bit != 0 {
			highKeys++
		}
	})
	mask := p.mask | bit
	low = newPage(p.bucket, mask, capacityFor(p.live-highKeys, minSlots))
	high = newPage(p.bucket|bucket(bit), mask, capacityFor(highKeys, minSlots))
	p.eachLocked(func(fp Fingerprint, location Location) {
		if fp.Hash&bit == 0 {
			low.add(fp, location)
		} else {
			high.add(fp, location)
		}
	})
	return low, high
}

// bytes is what the page costs, with its share of the directory.
func (p *page) bytes() int64 {
	const overhead = 128 + 16 + 24 // the page struct, its map entry, its part of a map bucket
	return overhead + bytesPerSlot*int64(p.capacity())
}

// reversed is the page's place in the order of bit-reversed hashes, in which a page covers one stretch and a split cuts
// a stretch in two: where it begins, and where the next one does, which is 0 behind the last.
func (p *page) reversed() (from, next uint64) {
	from = bits.Reverse64(uint64(p.bucket))
	return from, from + ^bits.Reverse64(p.mask) + 1
}
