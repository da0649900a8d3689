package wal

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// Write is one Put, Delete or Batch on its way to the disk.
type Write struct {
	Draft    *segment.Draft
	Fps      []index.Fingerprint       // of the draft's keys
	deletes  bool                      // nothing but deletes: may use the reserve
	revived  map[index.Fingerprint]int // the last put of each key, where there are deletes among puts
	long     *longWrite                // the value has a file of its own
	expected int64                     // bytes that count as taken; see expect
	Err      error

	Own segment.Draft // what draft points to, but for a Batch
}

var writes = sync.Pool{New: func() any { return new(Write) }}

// Put gives a key a value.
func (l *Log) Put(key, value []byte, expiry int64) error {
	if size := segment.RecordSize(len(key), int64(len(value)), 0); size > l.catalog.LongSize() && size > longMin {
		return l.putLong(key, value, expiry)
	}
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft = &w.Own
	w.Own.Put(key, value, expiry)
	w.Fps = append(w.Fps, l.Hasher.Fingerprint(key))
	return l.commit(w)
}

// Delete writes down that a key has no value.
func (l *Log) Delete(key []byte, fp index.Fingerprint) error {
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft, w.deletes = &w.Own, true
	w.Own.Delete(key)
	w.Fps = append(w.Fps, fp)
	return l.commit(w)
}

// Write makes all changes of a draft or, on an error, none.
func (l *Log) Write(draft *segment.Draft) error {
	w := writes.Get().(*Write)
	defer w.discard()
	if size := draft.EncodedSize(true, true); size > l.catalog.LongSize() {
		w.expect(l.space, size)
		defer w.arrived(l.space)
	}
	w.Draft, w.deletes = draft, true
	deletes := 0
	for i := range draft.Len() {
		w.Fps = append(w.Fps, l.Hasher.Fingerprint(draft.Key(i)))
		if draft.IsDelete(i) {
			deletes++
		}
	}
	w.deletes = deletes == draft.Len()
	if deletes > 0 && !w.deletes {
		w.noteRevived()
	}
	return l.commit(w)
}

// noteRevived finds the last put of each key. A key that a batch deletes and then puts is
// not absent in between, not even to who looks while the batch is published.
func (w *Write) noteRevived() {
	w.revived = make(map[index.Fingerprint]int, len(w.Fps))
	for i, fp := range w.Fps {
		if !w.Draft.IsDelete(i) {
			w.revived[fp] = i
		}
	}
}

// expect waits until there is room for a large write.
func (w *Write) expect(space *space.Space, size int64) {
	w.expected = size
	space.Expect(size)
}

// arrived ends what expect began. It may be called again.
func (w *Write) arrived(space *space.Space) {
	if w.expected != 0 {
		space.Arrived(w.expected)
		w.expected = 0
	}
}

// discard gives w back for reuse.
func (w *Write) discard() {
	w.Own.Reset()
	w.Draft, w.long, w.Err, w.deletes, w.revived = nil, nil, nil, false, nil
	w.Fps = w.Fps[:0]
	if cap(w.Fps) > 4096 {
		w.Fps = nil
	}
	writes.Put(w)
}
