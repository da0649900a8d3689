package index

import (
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// walkers notes the keys that are inserted while Ranges are in flight, so that each Range can leave out
// those inserted since it began. All Ranges share one set of notes, so the cost of a Put does not
// depend on their number.
type walkers struct {
	count atomic.Int64 // Ranges in flight; changed under mu

	mu       rank.Mutex[rank.Walkers] // guards the rest; a leaf, locked under a page's mutex
	began    uint64                   // how many Ranges have begun since none was in flight
	inserted map[Fingerprint]uint64   // the value of began when the key was inserted
	max      int                      // the most keys to note
}

const (
	// minNotes is the limit of noted keys for a small index.
	minNotes = 64 << 10
	// notedPart limits the notes of a large index to one in notedPart of its keys: the notes then take
	// no more than a quarter of the memory of the index.
	notedPart = 8
)

// begin begins a Range of an index with the given number of keys, and returns the number of the Range.
func (w *walkers) begin(keys int) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count.Add(1) == 1 {
		w.began, w.inserted = 0, map[Fingerprint]uint64{}
	}
	w.max = max(minNotes, keys/notedPart)
	w.began++
	return w.began
}

// end ends a Range.
func (w *walkers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count.Add(-1) == 0 {
		w.inserted = nil
	}
}

// noteInsertLocked notes an inserted key. The caller holds the mutex of its page.
func (w *walkers) noteInsertLocked(fp Fingerprint) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inserted != nil && len(w.inserted) < w.max {
		w.inserted[fp] = w.began
	}
}

// exclude removes from the pairs of a page those inserted since a Range began.
func (w *walkers) exclude(number uint64, pairs []pair) []pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.inserted) == 0 {
		return pairs
	}
	return slices.DeleteFunc(pairs, func(one pair) bool { return w.inserted[one.fp] >= number })
}

type pair struct {
	fp       Fingerprint
	location Location
}

// Range calls fn for every key until fn returns false. It yields a key that is present throughout
// exactly once, and a key that is deleted during the walk at most once. It does not yield a key
// that is inserted during the walk, unless very many are (see minNotes and notedPart). Range calls
// fn without holding a lock, and fn may call any method. The location may have changed since Range
// read it, so act on it by CompareAndSwap.
func (d *KeyDir) Range(fn func(fp Fingerprint, location Location) bool) {
	number := d.walkers.begin(d.Len())
	defer d.walkers.end()
	var pairs []pair
	d.eachPageLocked(func(p *page) {
		pairs = pairs[:0]
		p.eachLocked(func(fp Fingerprint, location Location) {
			pairs = append(pairs, pair{fp, location})
		})
		pairs = d.walkers.exclude(number, pairs)
	}, func() bool {
		for _, pair := range pairs {
			if !fn(pair.fp, pair.location) {
				return false
			}
		}
		return true
	})
}

// eachPageLocked calls visit for one page after the other with the page's mutex held. After each
// page it calls proceed without the mutex, and stops if that returns false. It walks the
// bit-reversed hashes upwards. A split only cuts a range of them in two, so eachPageLocked visits
// every hash exactly once.
func (d *KeyDir) eachPageLocked(visit func(p *page), proceed func() bool) {
	for at := uint64(0); ; {
		p := d.lock(bits.Reverse64(at))
		from, next := p.reversed()
		invariant.Check(from == at, "walk at %#x met a page that begins at %#x", at, from)
		func() {
			defer p.mu.Unlock()
			visit(p)
		}()
		if !proceed() || next == 0 {
			return
		}
		at = next
	}
}
