package mmapkv

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// walk is a Range or a Keys in flight. It runs on to its end when the store is closed
// meanwhile: Close leaves it the last set, whose files it then keeps until it ends.
// Before that it keeps nothing but the file that it is in.
type walk struct {
	store *Store
	kept  atomic.Pointer[catalog.FileSet] // nil while the store is open
}

// walks are those of a store.
type walks struct {
	mu     rank.Mutex[rank.Walks] // guards the rest; a leaf
	all    []*walk
	closed bool
}

// beginWalk registers a walk; ErrClosed when the store is closed.
func (s *Store) beginWalk() (*walk, error) {
	s.walks.mu.Lock()
	defer s.walks.mu.Unlock()
	if s.walks.closed || s.closed.Load() {
		return nil, ErrClosed
	}
	w := &walk{store: s}
	s.walks.all = append(s.walks.all, w)
	return w, nil
}

// end lets go of the files that Close has left.
func (w *walk) end() {
	s := w.store
	s.walks.mu.Lock()
	s.walks.all = slices.DeleteFunc(s.walks.all, func(other *walk) bool { return other == w })
	s.walks.mu.Unlock()
	if kept := w.kept.Load(); kept != nil {
		for _, f := range kept.Order {
			f.Release()
		}
	}
}

// handOver gives the walks in flight the last set. The store is not yet closed to readers
// when it is called, so that each walk finds either set.
func (w *walks) handOver(last *catalog.FileSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if last == nil {
		return
	}
	for _, one := range w.all {
		for _, f := range last.Order {
			f.Acquire() // which is not refused: Close retires them later
		}
		one.kept.Store(last)
	}
}

// set is the set of files that the walk goes by.
func (w *walk) set() *catalog.FileSet {
	if set := w.store.catalog.Set(); set != nil {
		return set
	}
	return w.kept.Load()
}

// next is the file in which the log goes on behind a sequence number, which the walk
// uses until it calls done; nil when there is none. What compaction has put in the
// place of several files may begin before that number.
func (w *walk) next(after uint64) (f *catalog.File, done func()) {
	for {
		set := w.set()
		at := sort.Search(len(set.Order), func(i int) bool {
			end, ended := w.store.catalog.Files.IsEnded(set.Order[i])
			return !ended || end.Seq > after
		})
		if at == len(set.Order) {
			return nil, nil
		}
		if f := set.Order[at]; f.Acquire() {
			return f, f.Release
		} else if w.keeps(f) {
			return f, func() {} // kept until the walk ends
		}
		// It was retired just now, and a set without it is published.
	}
}

// keeps says whether Close has left the walk a file. Where there is no walk, it has not.
func (w *walk) keeps(f *catalog.File) bool {
	if w == nil {
		return false
	}
	kept := w.kept.Load()
	return kept != nil && int(f.Slot) < len(kept.Files) && kept.Files[f.Slot] == f
}
