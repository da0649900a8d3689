package index

import (
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// walker is one Range in flight.
type walker struct {
	mu       rank.Mutex[rank.Walker]  // guards the rest; a leaf, locked under a page's mutex
	at       uint64                   // the walk has passed the bit-reversed hashes below it
	came     map[Fingerprint]struct{} // keys that have come since it began, in what it has not passed
	maxNotes int                      // how many of them it remembers at most
}

// minNotes is how many keys a walker remembers at most if there are few in the index.
const minNotes = 64 << 10

// note remembers a key that has come.
func (w *walker) note(fp Fingerprint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if bits.Reverse64(fp.Hash) >= w.at && len(w.came) < w.maxNotes {
		w.came[fp] = struct{}{}
	}
}

// pass takes from the pairs of a page those that have come meanwhile, and moves the walk behind the page. The page's
// mutex is held, so that no key comes between the two.
func (w *walker) pass(next uint64, pairs []pair) []pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at = next; next == 0 {
		w.maxNotes = 0 // it was the last page
	}
	if len(w.came) == 0 {
		return pairs
	}
	return slices.DeleteFunc(pairs, func(one pair) bool {
		_, came := w.came[one.fp]
		delete(w.came, one.fp)
		return came
	})
}

// walkers are those of a KeyDir.
type walkers struct {
	mu  rank.Mutex[rank.Walkers] // held by whoever changes the list
	all atomic.Pointer[[]*walker]
}

// cameLocked tells the walkers of a key that comes. The mutex of its page is held.
func (w *walkers) cameLocked(fp Fingerprint) {
	if all := w.all.Load(); all != nil {
		for _, one := range *all {
			one.note(fp)
		}
	}
}

// change replaces the list by what fn makes of a copy of it.
func (w *walkers) change(fn func(all []*walker) []*walker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*walker
	if old := w.all.Load(); old != nil {
		all = slices.Clone(*old)
	}
	if all = fn(all); len(all) == 0 {
		w.all.Store(nil)
		return
	}
	w.all.Store(&all)
}

func (w *walkers) add(one *walker) {
	w.change(func(all []*walker) []*walker { return append(all, one) })
}

func (w *walkers) remove(one *walker) {
	w.change(func(all []*walker) []*walker {
		return slices.DeleteFunc(all, func(other *walker) bool { return other == one })
	})
}

type pair struct {
	fp       Fingerprint
	location Location
}

// Range calls fn for every key until it returns false. A key that is there throughout comes exactly once; one that goes
// meanwhile comes once at most, and one that comes meanwhile does not come, unless more keys come than there were. fn is
// called without a lock and may call any method; what it is told may have changed since, so whoever acts on it does so
// by CompareAndSwap.
func (d *KeyDir) Range(fn func(fp Fingerprint, location Location) bool) {
	w := &walker{came: map[Fingerprint]struct{}{}, maxNotes: max(minNotes, d.Len())}
	d.walkers.add(w)
	defer d.walkers.remove(w)
	var pairs []pair
	d.eachPageLocked(func(p *page) {
		pairs = pairs[:0]
		p.eachLocked(func(fp Fingerprint, location Location) {
			pairs = append(pairs, pair{fp, location})
		})
		_, next := p.reversed()
		pairs = w.pass(next, pairs)
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
