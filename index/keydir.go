package index

import (
	"math/bits"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/puzpuzpuz/xsync/v3"
)

// Options sizes a KeyDir. The zero value is ready to use.
type Options struct {
	PageSlots    int // the typical capacity of a page, in slots; 0: 4,096. Tests use 8 to 16
	ExpectedKeys int // New allocates memory for this number of keys, of which inserts copy hardly any; 0: start small
}

const (
	defaultPageSlots = 4096
	minPageSlots     = 4 // even if Options ask for less
)

// KeyDir maps fingerprints to locations. All its methods are safe for concurrent use; the package comment says what
// each guarantees then.
type KeyDir struct {
	pages    *xsync.MapOf[bucket, *page]
	pageKeys int64         // average keys per page above which a bucket is split
	minSlots int           // capacity of the smallest page
	buckets  atomic.Uint64 // never decreases; every bucket below it has a page

	_ [128]byte // readers load the words above, and writers change those below

	live     atomic.Int64 // locations that are not NoLocation; changed under the page's mutex, except by a Loader
	bytes    atomic.Int64
	splits   atomic.Int64
	rebuilds atomic.Int64
	walkers  walkers

	growing rank.Mutex[rank.Growing] // held by the one goroutine that splits; locked before a page's mutex
}

// New returns an empty KeyDir.
func New(o Options) *KeyDir {
	if o.PageSlots <= 0 {
		o.PageSlots = defaultPageSlots
	}
	d := &KeyDir{
		pageKeys: max(1, int64(o.PageSlots)*3/4),
		minSlots: max(minPageSlots, o.PageSlots/64),
	}
	expected := uint64(max(0, o.ExpectedKeys))
	count := max(1, (expected+uint64(d.pageKeys)-1)/uint64(d.pageKeys))
	d.pages = xsync.NewMapOfWithHasher[bucket, *page](spread, xsync.WithPresize(int(count)))
	for b := range bucket(count) {
		mask := maskOf(b, count)
		keys := int(float64(expected>>bits.Len64(mask)) / growthFactor(b, mask, count))
		d.put(newPage(b, mask, capacityFor(keys, d.minSlots)))
	}
	d.buckets.Store(count)
	return d
}

// spread is the hasher of the map of pages. Bucket numbers are consecutive, so their low bits fill the map's own
// buckets evenly. The low seven bits of the result distinguish the entries within one of the map's buckets.
func spread(b bucket, _ uint64) uint64 {
	const (
		tagBits = 7
		golden  = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: its multiples differ in the high bits
	)
	return uint64(b)<<tagBits | uint64(b)*golden>>(64-tagBits)
}

// bucketOf implements linear hashing. It takes as many low bits of the hash as are needed to number count buckets, and
// one bit less for buckets that are not split yet.
func bucketOf(hash, count uint64) bucket {
	mask := uint64(1)<<bits.Len64(count-1) - 1
	if hash&mask >= count {
		mask >>= 1
	}
	return bucket(hash & mask)
}

// maskOf is the mask of a bucket's page when there are count buckets.
func maskOf(b bucket, count uint64) uint64 {
	mask := uint64(1)<<bits.Len64(count-1) - 1
	if top := mask ^ mask>>1; uint64(b)|top >= count {
		mask >>= 1
	}
	return mask
}

// growthFactor is the ratio of the keys in a page to the keys that it was built for, in a KeyDir that grew to count
// buckets by inserts alone: the page is as old as the newer bucket of the last split that involved it, and was rebuilt
// if it has been full since. New sizes pages for expected keys by this ratio. Pages of equal size would all fill up at
// the same time.
func growthFactor(b bucket, mask, count uint64) float64 {
	const full = (7. / 8) / (5. / 8)
	newer := uint64(b) | (mask ^ mask>>1)
	factor := float64(count) / float64(newer+1)
	if factor > full {
		factor /= full
	}
	return factor
}

// Prefetch starts to load the memory that a lookup or an update of the fingerprint with this hash will read, and does
// not wait for it.
func (d *KeyDir) Prefetch(hash uint64) {
	hash = neverZero(hash)
	d.page(hash).prefetch(hash)
}

// Part is the part of a KeyDir that the key with a hash is in, if the KeyDir is divided into the given number of parts,
// which must be a power of two. No page is in two parts, unless there are fewer pages than parts.
func Part(hash uint64, parts int) int { return int(hash & uint64(parts-1)) }

// page returns the page that covers hash. It loads the count before the page. If a split moved hash in between, the page
// found does not cover it. The split published the new count before that page, so the next try sees the new count.
func (d *KeyDir) page(hash uint64) *page {
	for {
		p, _ := d.pages.Load(bucketOf(hash, d.buckets.Load()))
		if p.covers(hash) {
			return p
		}
	}
}

// lock returns the current page for hash with its mutex held.
func (d *KeyDir) lock(hash uint64) *page {
	for {
		p := d.page(hash)
		p.mu.Lock()
		if !p.retired {
			return p
		}
		p.mu.Unlock()
	}
}

// Get returns the location of a fingerprint, or NoLocation. It is exact, as writers need, and locks the page's mutex.
func (d *KeyDir) Get(fp Fingerprint) Location {
	fp.Hash = neverZero(fp.Hash)
	p := d.lock(fp.Hash)
	s := p.slotLocked(fp)
	p.mu.Unlock()
	return s.old
}

// Put sets the location of a fingerprint and returns the one it had. Putting NoLocation is Delete.
func (d *KeyDir) Put(fp Fingerprint, location Location) (old Location) {
	fp.Hash = neverZero(fp.Hash)
	p := d.lock(fp.Hash)
	s := p.slotLocked(fp)
	d.setAndUnlock(p, fp, s, location)
	return s.old
}

// Delete removes a fingerprint and returns the location it had.
func (d *KeyDir) Delete(fp Fingerprint) (old Location) {
	return d.Put(fp, NoLocation)
}

// CompareAndSwap sets the location of a fingerprint if it equals old, and reports whether it did. NoLocation: absent.
func (d *KeyDir) CompareAndSwap(fp Fingerprint, old, location Location) bool {
	fp.Hash = neverZero(fp.Hash)
	p := d.lock(fp.Hash)
	s := p.slotLocked(fp)
	if s.old != old {
		p.mu.Unlock()
		return false
	}
	d.setAndUnlock(p, fp, s, location)
	return true
}

// setAndUnlock sets the location of a fingerprint's slot and unlocks its page. It copies at most one page: this one if
// it is full or sparse, or the next one to be split.
func (d *KeyDir) setAndUnlock(p *page, fp Fingerprint, s slot, location Location) {
	copied := d.setLocked(p, fp, s, location)
	if keys := s.keyDelta(location); keys != 0 {
		d.live.Add(keys)
	}
	p.mu.Unlock()
	if !copied {
		d.grow()
	}
}

// setLocked sets the location of a fingerprint's slot, and reports whether it copied the page.
func (d *KeyDir) setLocked(p *page, fp Fingerprint, s slot, location Location) (copied bool) {
	if s.old == NoLocation && location != NoLocation {
		d.walkers.noteInsertLocked(fp)
	}
	switch {
	case s.taken:
		p.updateLocked(s.word, location)
		copied = location == NoLocation && d.rebuildIfSparseLocked(p)
	case location == NoLocation:
	case p.used < fullSlots(p.capacity()):
		p.takeLocked(s.word, fp, location)
	default:
		fresh := p.rebuiltLocked(capacityFor(p.live+1, d.minSlots))
		fresh.add(fp, location)
		d.replaceLocked(p, fresh)
		copied = true
	}
	return copied
}

// Len is the number of keys, exactly.
func (d *KeyDir) Len() int { return int(d.live.Load()) }

// Bytes is the memory that the pages take, without what the allocator adds by rounding up.
func (d *KeyDir) Bytes() int64 { return d.bytes.Load() }

// Stats returns the number of pages, and of the splits and rebuilds so far.
func (d *KeyDir) Stats() (pages, splits, rebuilds int) {
	return int(d.buckets.Load()), int(d.splits.Load()), int(d.rebuilds.Load())
}
