package index

import (
	"math/bits"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// rebuildIfSparseLocked rebuilds a page that is mostly unused, and reports whether it did.
func (d *KeyDir) rebuildIfSparseLocked(p *page) (rebuilt bool) {
	if !p.sparseLocked(d.minSlots) {
		return false
	}
	d.replaceLocked(p, p.rebuiltLocked(capacityFor(p.live+1, d.minSlots)))
	return true
}

// replaceLocked replaces old with fresh. The caller holds the mutex of old.
func (d *KeyDir) replaceLocked(old, fresh *page) {
	d.put(fresh)
	d.retireLocked(old)
	d.rebuilds.Add(1)
}

// put makes p the page of its bucket.
func (d *KeyDir) put(p *page) {
	d.bytes.Add(p.bytes())
	d.pages.Store(p.bucket, p)
}

// retireLocked tells writers that wait for p's mutex that another page has replaced p.
func (d *KeyDir) retireLocked(p *page) {
	p.retired = true
	d.bytes.Add(-p.bytes())
}

// grow splits the next bucket if the average page is too full and nobody else is splitting, and reports whether it did.
func (d *KeyDir) grow() bool {
	if d.live.Load() <= d.pageKeys*int64(d.buckets.Load()) || !d.growing.TryLock() {
		return false
	}
	defer d.growing.Unlock()
	count := d.buckets.Load()
	if d.live.Load() <= d.pageKeys*int64(count) {
		return false
	}
	d.split(count, func(bucket, uint64) int { return 0 })
	return true
}

// Reserve makes the KeyDir large enough for the expected number of keys, as New does, one split after the other. Others
// may use it meanwhile: they wait for one split at most. Reserve ends early once stop returns true.
func (d *KeyDir) Reserve(expectedKeys int, stop func() bool) {
	expected := uint64(max(0, expectedKeys))
	target := (expected + uint64(d.pageKeys) - 1) / uint64(d.pageKeys)
	room := func(b bucket, mask uint64) int {
		if mask != maskOf(b, target) {
			return 0 // its page will be split again
		}
		return int(float64(expected>>bits.Len64(mask)) / growthFactor(b, mask, target))
	}
	for !stop() && d.reserveOne(target, room) {
	}
}

// reserveOne splits the next bucket if there are fewer than target, and reports whether it did.
func (d *KeyDir) reserveOne(target uint64, room func(b bucket, mask uint64) int) bool {
	d.growing.Lock()
	defer d.growing.Unlock()
	count := d.buckets.Load()
	if count >= target {
		return false
	}
	d.split(count, room)
	return true
}

// split splits bucket number count off its sibling, the bucket whose number lacks the highest bit. The caller holds
// d.growing. Readers rely on the order: split publishes the new page, then the count that makes it visible, and only
// then the old bucket's page without the keys that moved. room says for how many keys a page is made at least.
func (d *KeyDir) split(count uint64, room func(b bucket, mask uint64) int) {
	sibling := count ^ 1<<(bits.Len64(count)-1)
	p := d.lock(sibling)
	defer p.mu.Unlock()
	low, high := p.splitLocked(d.minSlots, room)
	invariant.Check(uint64(p.bucket) == sibling && uint64(high.bucket) == count, "split of bucket %d made %d, not %d", p.bucket, high.bucket, count)
	d.put(high)
	d.buckets.Store(count + 1)
	d.put(low)
	d.retireLocked(p)
	d.splits.Add(1)
}

// Sweep deletes every location for which drop returns true. It may miss a location that is put while it runs. It calls
// drop under a page's mutex, so drop must not call the KeyDir.
func (d *KeyDir) Sweep(drop func(Location) bool) {
	d.eachPageLocked(func(p *page) {
		dropped := 0
		for word := 0; word < len(p.slots); word += wordsPerSlot {
			location := Location(p.slots[word+1])
			if location != NoLocation && drop(location) {
				p.updateLocked(word, NoLocation)
				dropped++
			}
		}
		d.live.Add(-int64(dropped))
		d.rebuildIfSparseLocked(p)
	}, func() bool { return true })
}

// Trim shrinks pages that were made for more keys than they have or are expected to get.
func (d *KeyDir) Trim(expectedKeys int) {
	d.eachPageLocked(func(p *page) {
		keys := max(p.live+1, expectedKeys>>bits.Len64(p.mask))
		if fresh := capacityFor(keys, d.minSlots); fresh <= p.capacity()/4*3 {
			d.replaceLocked(p, p.rebuiltLocked(fresh))
		}
	}, func() bool { return true })
}
