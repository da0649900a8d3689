package index

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// Options sizes a KeyDir. The zero value is good.
type Options struct {
	PageSlots    int // the middling capacity of a page, in slots; 0: 4,096. Tests use 8 to 16
	ExpectedKeys int // memory for so many keys is taken at once, and hardly any of it is copied while they come; 0: start small
}

const (
	defaultPageSlots = 4096
	minPageSlots     = 4 // whatever Options say
)

// KeyDir maps fingerprints to locations. All its methods may be called from many goroutines at a time; what that means
// for each is in the package comment.
type KeyDir struct {
	pages    *xsync.MapOf[bucket, *page]
	pageKeys int64         // keys a page on the average, beyond which a bucket is split
	minSlots int           // capacity of the smallest page
	buckets  atomic.Uint64 // never decreases; every bucket below it has a page

	_ [128]byte // readers load the words above, writers change those below

	live     atomic.Int64 // locations that are not NoLocation; changed under the page's mutex, but for those that a Loader puts
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
// buckets evenly; the low seven bits of the result tell the entries of one of those apart.
func spread(b bucket, _ uint64) uint64 {
	const (
		tagBits = 7
		golden  = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: its multiples differ in the high bits
	)
	return uint64(b)<<tagBits | uint64(b)*golden>>(64-tagBits)
}

// bucketOf is linear hashing: the low bits of the hash, as many as it takes to number count buckets, and one less for
// the buckets that are not split yet.
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

// growthFactor is how many times the keys that a page was built for it has in a KeyDir that grew to count buckets by itself:
// the page is as old as the newer one of the two buckets that were split last, and was rebuilt if it was full since.
// Pages made for expected keys have these sizes too. If all had the same they would be full at the same time.
func growthFactor(b bucket, mask, count uint64) float64 {
	const full = (7. / 8) / (5. / 8)
	newer := uint64(b) | (mask ^ mask>>1)
	factor := float64(count) / float64(newer+1)
	if factor > full {
		factor /= full
	}
	return factor
}

// Prefetch asks for the memory that a lookup or a change of a location will look at, by the hash part of the
// fingerprint, and does not wait for it.
func (d *KeyDir) Prefetch(hash uint64) {
	hash = neverZero(hash)
	p := d.page(hash)
	word := start(hash, len(p.slots))
	prefetch.Line(unsafe.Pointer(&p.slots[word]))
	prefetch.Line(unsafe.Pointer(&p.checks[word/wordsPerSlot]))
}

// Part is which of so many parts of a KeyDir, a power of two, the key with a hash is in. No page is in two parts, unless
// there are fewer pages.
func Part(hash uint64, parts int) int { return int(hash & uint64(parts-1)) }

// page returns the page that has hash. The count is loaded before the page: if a split has moved hash to a page of its
// own meanwhile, the page found does not cover it, and the count that does was published before that page.
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

// Candidates are the locations that may be a key's. Read them with Next. They hold on to memory of the KeyDir, and age:
// use them at once.
type Candidates struct {
	slots []uint64
	hash  uint64
	word  int
}

// Find returns the candidates for a key by the hash part of its fingerprint. It takes no lock, writes nothing and
// allocates nothing. A key that is there from before Find until after Next is among them, at a location that it had in
// that time.
func (d *KeyDir) Find(hash uint64) Candidates {
	hash = neverZero(hash)
	slots := d.page(hash).slots
	return Candidates{slots: slots, hash: hash, word: start(hash, len(slots))}
}

// Memory is what Next will look at first, for whoever wants to ask for it ahead.
func (c *Candidates) Memory() unsafe.Pointer { return unsafe.Pointer(&c.slots[c.word]) }

// Next returns the next candidate, and false when there is none left. Nearly always the first one is the key, but only
// the record can tell.
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

// Get returns the location of a fingerprint, or NoLocation. It is exact, as writers need it, and takes the page's mutex.
func (d *KeyDir) Get(fp Fingerprint) Location {
	s := d.lockSlot(fp)
	s.page.mu.Unlock()
	return s.old
}

// Put sets the location of a fingerprint and returns the one it had. Putting NoLocation is Delete.
func (d *KeyDir) Put(fp Fingerprint, location Location) (old Location) {
	s := d.lockSlot(fp)
	d.setAndUnlock(s, location)
	return s.old
}

// Delete removes a fingerprint and returns the location it had.
func (d *KeyDir) Delete(fp Fingerprint) (old Location) {
	return d.Put(fp, NoLocation)
}

// CompareAndSwap sets the location of a fingerprint to location if it is old, and reports whether it was. NoLocation
// stands for absent in both places.
func (d *KeyDir) CompareAndSwap(fp Fingerprint, old, location Location) bool {
	s := d.lockSlot(fp)
	if s.old != old {
		s.page.mu.Unlock()
		return false
	}
	d.setAndUnlock(s, location)
	return true
}

// Loader puts keys into a KeyDir. Several, each in a goroutine of its own, are faster than so many that call Put, since
// they count their keys only now and then; Done does it in the end.
type Loader struct {
	keys      *KeyDir
	uncounted int64 // keys that are not counted
}

// countEvery is how many keys a Loader puts at most before it counts them: far fewer than there are to a split.
const countEvery = 256

// Loader returns a Loader.
func (d *KeyDir) Loader() Loader { return Loader{keys: d} }

// PutNewer sets the location of a fingerprint unless the one it has is greater: while a store loads, the higher slot
// and in it the higher offset is the newer record, in whatever order they come. loser is the location that did not
// stay, NoLocation if there was no other; replaced reports that the loser is the one that was there. A location that is
// put again does not stay.
func (l *Loader) PutNewer(fp Fingerprint, location Location) (loser Location, replaced bool) {
	s := l.keys.lockSlot(fp)
	switch {
	case location > s.old:
		l.keys.setLocked(s, location)
		s.page.mu.Unlock()
		if l.uncounted += s.keyDelta(location); l.uncounted >= min(countEvery, l.keys.pageKeys) {
			l.Done()
		}
		return s.old, s.old != NoLocation
	default:
		s.page.mu.Unlock()
		return location, false
	}
}

// Done counts what is not counted.
func (l *Loader) Done() {
	l.keys.live.Add(l.uncounted)
	l.uncounted = 0
	for l.keys.grow() {
	}
}

// seat is where a fingerprint sits or would sit, in a page whose mutex is held.
type slotRef struct {
	page  *page
	fp    Fingerprint
	word  int
	taken bool
	old   Location
}

// seat locks the page of a fingerprint and finds its slot. setAndUnlock, or unlocking the page, ends it.
func (d *KeyDir) lockSlot(fp Fingerprint) slotRef {
	fp.Hash = neverZero(fp.Hash)
	p := d.lock(fp.Hash)
	word, taken := p.findLocked(fp)
	s := slotRef{page: p, fp: fp, word: word, taken: taken}
	if taken {
		s.old = Location(p.slots[word+1])
	}
	return s
}

// setAndUnlock gives the seat a location and unlocks its page. It copies one page at most: the one that is full or worn, or
// the next one to be split.
func (d *KeyDir) setAndUnlock(s slotRef, location Location) {
	copied := d.setLocked(s, location)
	if keys := s.keyDelta(location); keys != 0 {
		d.live.Add(keys)
	}
	s.page.mu.Unlock()
	if !copied {
		d.grow()
	}
}

// keyDelta is how many more keys there are when the seat has another location.
func (s *slotRef) keyDelta(location Location) int64 {
	switch {
	case s.old == NoLocation && location != NoLocation:
		return 1
	case s.old != NoLocation && location == NoLocation:
		return -1
	}
	return 0
}

// setLocked gives the seat a location, and says whether it has copied a page.
func (d *KeyDir) setLocked(s slotRef, location Location) (copied bool) {
	p := s.page
	if s.old == NoLocation && location != NoLocation {
		d.walkers.noteInsertLocked(s.fp)
	}
	switch {
	case s.taken:
		p.updateLocked(s.word, location)
		copied = location == NoLocation && d.rebuildIfSparseLocked(p)
	case location == NoLocation:
	case p.used < fullSlots(p.capacity()):
		p.takeLocked(s.word, s.fp, location)
	default:
		fresh := p.rebuiltLocked(capacityFor(p.live+1, d.minSlots))
		fresh.add(s.fp, location)
		d.replaceLocked(p, fresh)
		copied = true
	}
	return copied
}

// rebuildIfSparseLocked rebuilds a page that is mostly waste.
func (d *KeyDir) rebuildIfSparseLocked(p *page) (rebuilt bool) {
	if !p.sparseLocked(d.minSlots) {
		return false
	}
	d.replaceLocked(p, p.rebuiltLocked(capacityFor(p.live+1, d.minSlots)))
	return true
}

// replaceLocked puts fresh in the place of old, whose mutex is held.
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

// retireLocked tells the writers who wait for p's mutex that another page has taken its place.
func (d *KeyDir) retireLocked(p *page) {
	p.retired = true
	d.bytes.Add(-p.bytes())
}

// grow splits the next bucket if the pages hold too much on the average and nobody else is at it, and says whether it did.
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

// split makes the bucket numbered count out of its half-sibling, the one without the highest bit. The caller holds
// d.growing. The order is what readers rely on: the new page, the count that makes it known, and only then the old
// bucket's page without the keys that moved.
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

// Sweep deletes every location for which drop is true; a location put meanwhile may be missed. drop is called under a
// page's mutex and must not call the KeyDir.
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

// Trim gives back what pages have too much, having been made for more keys than there are or are expected.
func (d *KeyDir) Trim(expectedKeys int) {
	d.eachPageLocked(func(p *page) {
		keys := max(p.live+1, expectedKeys>>bits.Len64(p.mask))
		if fresh := capacityFor(keys, d.minSlots); fresh <= p.capacity()/4*3 {
			d.replaceLocked(p, p.rebuiltLocked(fresh))
		}
	}, func() bool { return true })
}

// Len is the number of keys, exactly.
func (d *KeyDir) Len() int { return int(d.live.Load()) }

// Bytes is the memory that the pages take, without what the allocator rounds up.
func (d *KeyDir) Bytes() int64 { return d.bytes.Load() }

// Stats counts the pages there are, and the splits and rebuilds there have been.
func (d *KeyDir) Stats() (pages, splits, rebuilds int) {
	return int(d.buckets.Load()), int(d.splits.Load()), int(d.rebuilds.Load())
}
