package mmapkv

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// walk is a Range or a Keys in flight. It runs on to its end when the store is closed
// meanwhile: Close leaves it the last set, whose files it then keeps until it ends.
// Before that it keeps nothing but the file that it is in.
type walk struct {
	store *Store
	left  atomic.Pointer[catalog.FileSet] // nil while the store is open
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
	if left := w.left.Load(); left != nil {
		for _, f := range left.Order {
			f.Release()
		}
	}
}

// leave gives the walks in flight the last set. The store is not yet closed to readers
// when it is called, so that each walk finds either set.
func (w *walks) leave(last *catalog.FileSet) {
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
		one.left.Store(last)
	}
}

// keeps says whether Close has left the walk a file. Where there is no walk, it has not.
func (w *walk) keeps(f *catalog.File) bool {
	if w == nil {
		return false
	}
	left := w.left.Load()
	return left != nil && int(f.Slot) < len(left.Files) && left.Files[f.Slot] == f
}

// set is the set of files that the walk goes by.
func (w *walk) set() *catalog.FileSet {
	if l := w.store.catalog.Set(); l != nil {
		return l
	}
	return w.left.Load()
}

// next is the file in which the log goes on behind a sequence number, which the walk
// uses until it calls done; nil when there is none. What compaction has put in the
// place of several files may begin before that number.
func (w *walk) next(after uint64) (f *catalog.File, done func()) {
	for {
		l := w.set()
		at := sort.Search(len(l.Order), func(i int) bool {
			end, ended := w.store.catalog.Files.IsEnded(l.Order[i])
			return !ended || end.Seq > after
		})
		if at == len(l.Order) {
			return nil, nil
		}
		if f := l.Order[at]; f.Acquire() {
			return f, f.Release
		} else if w.keeps(f) {
			return f, func() {} // kept until the walk ends
		}
		// It was retired just now, and a set without it is published.
	}
}

const (
	// sparse is the part of a file, one in so many bytes, below which Range has the index
	// tell where the live records are.
	sparse = 16
	// sparseWorth is for how many bytes of such files, for each key of the index, it is
	// worth going through the index. A key takes some ten nanoseconds there, a record at
	// least ten times that in its file.
	sparseWorth = 8
)

// findSparse finds where the live records of those files lie of which most is garbage,
// in the order of their offsets.
func findSparse(l *catalog.FileSet) map[*catalog.File][]int64 {
	found := map[*catalog.File][]int64{}
	var bytes int64
	for _, f := range l.Order {
		if records := f.RecordBytes(); f.LiveBytes.Load() < records/sparse {
			found[f] = nil
			bytes += records
		}
	}
	if bytes <= sparseWorth*int64(l.Keys.Len()) {
		return nil
	}
	l.Keys.Range(func(_ index.Fingerprint, loc index.Location) bool {
		if f := l.File(loc); f != nil {
			if offsets, ok := found[f]; ok {
				found[f] = append(offsets, loc.Offset())
			}
		}
		return true
	})
	for f, offsets := range found {
		// A compaction that had begun to move the file's entries by now may have moved
		// some that were not met.
		if f.Dropped.Load() {
			delete(found, f)
		}
		slices.Sort(offsets)
	}
	return found
}
