package index

import (
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// walkers notes the keys that come while Ranges are in flight, so that each Range can
// leave out those that came since it began. All share one set of notes: a Put costs the
// same however many there are.
type walkers struct {
	count atomic.Int64 // Ranges in flight; changed under mu

	mu       rank.Mutex[rank.Walkers] // guards the rest; a leaf, locked under a page's mutex
	began    uint64                   // how many Ranges have begun since there were none
	inserted map[Fingerprint]uint64   // what began was when the key came
	max      int                      // how many keys are noted at most
}

const (
	// minNotes is how many keys are noted at most if there are few in the index.
	minNotes = 64 << 10
	// notedPart is the part of the keys, one in so many, that is noted at most: the notes
	// take no more than a quarter of what the index does.
	notedPart = 8
)

// begin begins a Range of an index with so many keys, and returns its number.
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

// noteInsertLocked notes a key that comes. The mutex of its page is held.
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

// exclude takes from the pairs of a page those that have come since a Range began.
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

// Range calls fn for every key until it returns false. A key that is there throughout comes exactly once; one that goes
// meanwhile comes once at most, and one that comes meanwhile does not come, unless very many do (see minNotes and
// notedPart). fn is called without a lock and may call any method; what it is told may have changed since, so whoever
// acts on it does so by CompareAndSwap.
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

// eachPageLocked calls visit for one page after the other, with its mutex held, and after each, without the mutex,
// goOn, until that is false. It walks the bit-reversed hashes upwards; a split cuts a stretch of them in two, so that no
// hash is met twice or left out.
func (d *KeyDir) eachPageLocked(visit func(p *page), goOn func() bool) {
	for at := uint64(0); ; {
		p := d.lock(bits.Reverse64(at))
		from, next := p.reversed()
		invariant.Check(from == at, "walk at %#x met a page that begins at %#x", at, from)
		func() {
			defer p.mu.Unlock()
			visit(p)
		}()
		if !goOn() || next == 0 {
			return
		}
		at = next
	}
}
