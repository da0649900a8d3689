package mmapkv

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// walk is a Range or a Keys in flight. If the store is closed during the walk, the walk runs on
// to its end: Close leaves it the last set, and the walk keeps that set's files until it ends.
// Before that, a walk keeps only the file that it is in.
type walk struct {
	store *Store
	kept  atomic.Pointer[catalog.FileSet] // the set that Close has left the walk; nil while the store is open
}

// walks are the walks of a store.
type walks struct {
	mu     rank.Mutex[rank.Walks] // guards the rest; a leaf
	all    []*walk
	closed bool
}

// beginWalk registers a walk. It returns ErrClosed if the store is closed.
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

// end ends the walk, and releases the files that Close has left it.
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

// handOver gives the last set to the walks in flight. It is called before the store is closed to
// readers, so each walk always finds one of the two sets.
func (w *walks) handOver(last *catalog.FileSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if last == nil {
		return
	}
	for _, one := range w.all {
		for _, f := range last.Order {
			f.Acquire() // never refused, since Close retires the files later
		}
		one.kept.Store(last)
	}
}

// set returns the set of files that the walk uses.
func (w *walk) set() *catalog.FileSet {
	if set := w.store.catalog.Set(); set != nil {
		return set
	}
	return w.kept.Load()
}

// next returns the file in which the log continues after a sequence number; nil if there is none.
// The walk uses the file until it calls done. A file that compaction made may begin before that
// number.
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

// keeps reports whether Close has left the walk a file. A nil walk has none.
func (w *walk) keeps(f *catalog.File) bool {
	if w == nil {
		return false
	}
	kept := w.kept.Load()
	return kept != nil && int(f.Slot) < len(kept.Files) && kept.Files[f.Slot] == f
}
