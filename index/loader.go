package index

import (
	"math/bits"
	"slices"

	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// Loader puts many keys into a KeyDir. Several Loaders, each in its own goroutine, are faster than goroutines that call
// Put: a Loader locks a page once for many keys, and adds its keys to the shared count only occasionally. Done adds the
// rest.
type Loader struct {
	keys      *KeyDir
	uncounted int64 // keys not yet added to the shared count

	order  []uint32 // numbers of entries, page by page
	counts []uint32 // of the entries of each page
	lost   []Lost
}

// Entry is a location that a Loader puts into the KeyDir.
type Entry struct {
	Hash     uint64   // of the key's fingerprint
	Location Location // where the record is
	Check    uint32   // of the fingerprint
	Tag      uint32   // what the caller wants to know of the record
}

// Fingerprint is that of the entry's key.
func (e *Entry) Fingerprint() Fingerprint { return Fingerprint{Hash: e.Hash, Check: e.Check} }

// Lost is a location that was dropped in favor of a greater one, or of an equal one.
type Lost struct {
	Entry    int      // the number of the entry: of the one that was dropped, or that replaced what was there
	Location Location // what was dropped
}

const (
	// countEvery is the most keys that a Loader puts before it counts them: far fewer than are put between two splits.
	countEvery = 256
	// runEntries is for how many entries at most a Loader holds the mutex of a page. That takes some microseconds.
	runEntries = 64
)

// Loader returns a Loader.
func (d *KeyDir) Loader() Loader { return Loader{keys: d} }

// PutNewer sets the locations of the entries' fingerprints, unless their current locations are greater. While a store
// loads, the higher slot, or in the same slot the higher offset, is the newer record, in whatever order the records come.
// It returns the locations that were dropped, valid until the next call: an entry's, if it was refused, otherwise the one
// that the entry has replaced. An entry that equals the current location is refused. It is fastest for entries of one Part.
// PutNewer calls pause every few entries, when it holds no lock.
func (l *Loader) PutNewer(entries []Entry, pause func()) (lost []Lost) {
	l.lost = l.lost[:0]
	order := l.byPage(entries)
	for len(order) > 0 {
		order = order[l.putRun(entries, order):]
		if l.uncounted >= min(countEvery, l.keys.pageKeys) {
			l.Done()
		}
		pause()
	}
	return l.lost
}

// putRun puts the first entries that belong to one page, and returns how many.
func (l *Loader) putRun(entries []Entry, order []uint32) (n int) {
	d := l.keys
	p := d.lock(neverZero(entries[order[0]].Hash))
	for ; n < runEntries && n < len(order); n++ {
		if ahead := n + prefetch.Ahead; ahead < len(order) {
			if hash := neverZero(entries[order[ahead]].Hash); p.covers(hash) {
				p.prefetch(hash)
			} else {
				d.Prefetch(hash)
			}
		}
		e := &entries[order[n]]
		fp := Fingerprint{Hash: neverZero(e.Hash), Check: e.Check}
		if p.retired || !p.covers(fp.Hash) {
			break
		}
		s := p.slotLocked(fp)
		if e.Location <= s.old {
			l.lost = append(l.lost, Lost{int(order[n]), e.Location})
			continue
		}
		d.setLocked(p, fp, s, e.Location)
		if l.uncounted += s.keyDelta(e.Location); s.old != NoLocation {
			l.lost = append(l.lost, Lost{int(order[n]), s.old})
		}
	}
	p.mu.Unlock()
	return n
}

// byPage returns the numbers of the entries in an order in which those of a page follow each other. Pages may be split
// meanwhile: the order only saves time.
func (l *Loader) byPage(entries []Entry) []uint32 {
	l.order = slices.Grow(l.order[:0], len(entries))[:len(entries)]
	for i := range l.order {
		l.order[i] = uint32(i)
	}
	if len(entries) < 2 {
		return l.order
	}
	differ := uint64(0)
	for i := range entries {
		differ |= entries[i].Hash ^ entries[0].Hash
	}
	count := l.keys.buckets.Load()
	same := bits.TrailingZeros64(differ) // low bits, which do not tell the pages apart
	pages := int((count-1)>>same) + 1
	if pages == 1 || pages > len(entries) {
		return l.order
	}
	l.counts = slices.Grow(l.counts[:0], pages)[:pages]
	clear(l.counts)
	for i := range entries {
		l.counts[bucketOf(entries[i].Hash, count)>>same]++
	}
	next := uint32(0)
	for i, n := range l.counts {
		l.counts[i], next = next, next+n
	}
	for i := range entries {
		at := &l.counts[bucketOf(entries[i].Hash, count)>>same]
		l.order[*at] = uint32(i)
		*at++
	}
	return l.order
}

// Done adds the remaining keys to the shared count.
func (l *Loader) Done() {
	l.keys.live.Add(l.uncounted)
	l.uncounted = 0
	for l.keys.grow() {
	}
}
