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
	d.split(count)
	return true
}

// split splits bucket number count off its sibling, the bucket whose number lacks the highest bit. The caller holds
// d.growing. Readers rely on the order: split publishes the new page, then the count that makes it visible, and only
// then the old bucket's page without the keys that moved.
func (d *KeyDir) split(count uint64) {
	sibling := count ^ 1<<(bits.Len64(count)-1)
	p := d.lock(sibling)
	defer p.mu.Unlock()
	low, high := p.splitLocked(d.minSlots)
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
