package mmapkv

import (
	"iter"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// Keys yields a copy of every key, in no order. A key that is there throughout
// comes exactly once. One that comes meanwhile does not come, unless more than 65,536 and
// an eighth of the keys do; one that is deleted meanwhile may come. Keys whose record's header
// is damaged cannot be told and are left out; Range and Stats().Recovery report damage.
// After Close there are none; Keys in flight then runs on to its end, and keeps the files
// until then: what iter.Pull has made of it is to be stopped.
func (s *Store) Keys() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
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
			prefetchRecords(set, locations[:n])
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

// keyAt copies the key of the record at a location; where the record has moved or
// expired, or can no longer be read, that of the place where the index has it now.
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

func (w *walk) copyKey(set *catalog.FileSet, loc index.Location) (key []byte, expired bool, err error) {
	f := found{store: w.store, walk: w}
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	if err := f.load(set, loc); err != nil {
		return nil, false, err
	}
	return append([]byte{}, f.record.Key...), w.store.expired(&f.record), nil
}
