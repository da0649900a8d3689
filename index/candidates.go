package index

import (
	"sync/atomic"
	"unsafe"
)

// Candidates are the possible locations of a key. Read them with Next. They keep memory of the KeyDir alive, and become
// stale: use them at once.
type Candidates struct {
	slots []uint64
	hash  uint64
	word  int
}

// Find returns the candidates for a key by the hash part of its fingerprint. It takes no lock, writes nothing and does
// not allocate. A key that is present from before Find until after Next is among the candidates, at a location that it
// had during that time.
func (d *KeyDir) Find(hash uint64) Candidates {
	hash = neverZero(hash)
	slots := d.page(hash).slots
	return Candidates{slots: slots, hash: hash, word: start(hash, len(slots))}
}

// FindInto is Find that prefetches what an update of the key will need, for who looks at the candidates later.
func (d *KeyDir) FindInto(c *Candidates, hash uint64) {
	hash = neverZero(hash)
	p := d.page(hash)
	p.prefetch(hash)
	c.slots, c.hash, c.word = p.slots, hash, start(hash, len(p.slots))
}

// Memory is the address that Next will read first, so that the caller can prefetch it.
func (c *Candidates) Memory() unsafe.Pointer { return unsafe.Pointer(&c.slots[c.word]) }

// Next returns the next candidate, or false if there is none left. The first candidate is almost always the key's, but
// only the record can confirm it.
func (c *Candidates) Next() (Location, bool) {
	slots, hash := c.slots, c.hash
	for word := c.word; ; {
		found := atomic.LoadUint64(&slots[word])
		if found == 0 {
			c.word = word
			return NoLocation, false
		}
		this := word
		if word += wordsPerSlot; word >= len(slots) {
			word = 0
		}
		if found != hash {
			continue
		}
		if location := Location(atomic.LoadUint64(&slots[this+1])); location != NoLocation {
			c.word = word
			return location, true
		}
	}
}

// Holds says whether the index has the location for a key with the hash.
func (d *KeyDir) Holds(hash uint64, loc Location) bool {
	candidates := d.Find(hash)
	for {
		other, ok := candidates.Next()
		if !ok || other == loc {
			return ok
		}
	}
}
