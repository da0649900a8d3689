package mmapkv

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// commitPut gives a key a value.
func (l *log) commitPut(key, value []byte, expiry int64) error {
	if size := segment.RecordSize(len(key), int64(len(value)), 0); size > l.catalog.LongSize() && size > longMin {
		return l.putLong(key, value, expiry)
	}
	w := writes.Get().(*write)
	defer w.discard()
	w.draft = &w.own
	w.own.Put(key, value, expiry)
	w.prints = append(w.prints, l.Hasher.Fingerprint(key))
	return l.do(w)
}

// commitDelete writes down that a key has no value.
func (l *log) commitDelete(key []byte, print index.Fingerprint) error {
	w := writes.Get().(*write)
	defer w.discard()
	w.draft, w.deletes = &w.own, true
	w.own.Delete(key)
	w.prints = append(w.prints, print)
	return l.do(w)
}

// commitBatch makes all changes of a draft or, on an error, none.
func (l *log) commitBatch(draft *segment.Draft) error {
	w := writes.Get().(*write)
	defer w.discard()
	if size := draft.EncodedSize(true, true); size > l.catalog.LongSize() {
		w.expect(l.space, size)
		defer w.arrived(l.space)
	}
	w.draft, w.deletes = draft, true
	deletes := 0
	for i := range draft.Len() {
		w.prints = append(w.prints, l.Hasher.Fingerprint(draft.Key(i)))
		if draft.IsDelete(i) {
			deletes++
		}
	}
	w.deletes = deletes == draft.Len()
	if deletes > 0 && !w.deletes {
		w.noteRevived()
	}
	return l.do(w)
}

// expect waits until there is room for a large write.
func (w *write) expect(space *space.Space, size int64) {
	w.coming = size
	space.Expect(size)
}

// arrived ends what expect began. It may be called again.
func (w *write) arrived(space *space.Space) {
	if w.coming != 0 {
		space.Arrived(w.coming)
		w.coming = 0
	}
}

// noteRevived finds the last put of each key. A key that a batch deletes and then puts is
// not absent in between, not even to who looks while the batch is published.
func (w *write) noteRevived() {
	w.revived = make(map[index.Fingerprint]int, len(w.prints))
	for i, print := range w.prints {
		if !w.draft.IsDelete(i) {
			w.revived[print] = i
		}
	}
}
