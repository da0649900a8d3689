package wal

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// Put gives a key a value.
func (l *Log) Put(key, value []byte, expiry int64) error {
	if size := segment.RecordSize(len(key), int64(len(value)), 0); size > l.catalog.LongSize() && size > longMin {
		return l.putLong(key, value, expiry)
	}
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft = &w.Own
	w.Own.Put(key, value, expiry)
	w.Prints = append(w.Prints, l.Hasher.Fingerprint(key))
	return l.do(w)
}

// Delete writes down that a key has no value.
func (l *Log) Delete(key []byte, print index.Fingerprint) error {
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft, w.deletes = &w.Own, true
	w.Own.Delete(key)
	w.Prints = append(w.Prints, print)
	return l.do(w)
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
		w.Prints = append(w.Prints, l.Hasher.Fingerprint(draft.Key(i)))
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
func (w *Write) expect(space *space.Space, size int64) {
	w.coming = size
	space.Expect(size)
}

// arrived ends what expect began. It may be called again.
func (w *Write) arrived(space *space.Space) {
	if w.coming != 0 {
		space.Arrived(w.coming)
		w.coming = 0
	}
}

// noteRevived finds the last put of each key. A key that a batch deletes and then puts is
// not absent in between, not even to who looks while the batch is published.
func (w *Write) noteRevived() {
	w.revived = make(map[index.Fingerprint]int, len(w.Prints))
	for i, print := range w.Prints {
		if !w.Draft.IsDelete(i) {
			w.revived[print] = i
		}
	}
}
