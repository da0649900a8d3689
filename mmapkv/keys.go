package mmapkv

import (
	"iter"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// Keys yields a copy of every key, in no order. A key that exists throughout comes exactly once.
// A key that is added during the iteration does not come, unless more than 65,536 keys and more
// than an eighth of the keys are added. A key that is deleted during it may come. Keys whose
// record has a damaged header cannot be read and are left out; Range and Stats().Recovery report
// damage.
//
// Keys waits until the index is full, see Ready. After Close there are no keys. A Keys in flight runs on to its end, and keeps the files until
// then. So a Keys that was passed to iter.Pull must be stopped.
func (s *Store) Keys() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if s.closed.Load() || !s.loading.Wait() {
			return
		}
		w, err := s.beginWalk()
		if err != nil {
			return
		}
		defer w.end()
		set := w.set()
		var fps [prefetch.Batch]index.Fingerprint
		var locations [prefetch.Batch]index.Location
		n := 0
		yieldAll := func() bool {
			prefetchRecords(set, locations[:n], cacheLine) // the header and the beginning of the key
			for i := range n {
				key, ok := w.keyAt(fps[i], locations[i])
				if !ok {
					continue
				}
				rank.AssertNone("the body of a loop over Keys")
				if !yield(key) {
					return false
				}
			}
			n = 0
			return true
		}
		more := true
		set.Keys.Range(func(fp index.Fingerprint, loc index.Location) bool {
			fps[n], locations[n] = fp, loc
			if n++; n == prefetch.Batch {
				more = yieldAll()
			}
			return more
		})
		if more {
			yieldAll()
		}
	}
}

// keyAt copies the key of the record at a location. If the record has moved or expired, or can no
// longer be read, keyAt copies the key from where the index has it now.
func (w *walk) keyAt(fp index.Fingerprint, loc index.Location) (key []byte, ok bool) {
	for {
		set := w.set()
		key, expired, err := w.copyKey(set, loc)
		if err == errRetired {
			continue // there is another set by now
		}
		if err == nil && !expired && w.store.hasher.Hash(key) == fp.Hash {
			return key, true
		}
		now := set.Keys.Get(fp)
		if now == index.NoLocation || now == loc {
			return nil, false
		}
		loc = now
	}
}

// copyKey copies the key of the record at a location, and reports whether the record has expired.
func (w *walk) copyKey(set *catalog.FileSet, loc index.Location) (key []byte, expired bool, err error) {
	f := found{store: w.store, walk: w}
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	if err := f.load(set, loc); err != nil {
		return nil, false, err
	}
	return append([]byte{}, f.record.Key...), w.store.expired(&f.record), nil
}
