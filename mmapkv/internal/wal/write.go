package wal

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// Write is one Put, Delete or Batch on its way to the disk. Tests make some of their own.
type Write struct {
	// Draft holds the records to write. A long value has none.
	Draft *segment.Draft
	// Fps are the fingerprints of the draft's keys.
	Fps []index.Fingerprint
	// Condition says whether to make the write; nil: it is made.
	Condition Condition
	deletes   bool                      // all are deletes, which may use the reserve
	revived   map[index.Fingerprint]int // the last put of each key, if the draft mixes deletes and puts
	long      *longWrite                // the value has a file of its own
	expected  int64                     // bytes that count as used before they are written; see expect
	// Err is the outcome, valid once the leader is done with the write.
	Err error

	// Own is the draft of a Put or Delete. A Batch brings its own.
	Own segment.Draft
}

// writes are kept for reuse.
var writes = sync.Pool{New: func() any { return new(Write) }}

// Put sets a key's value. expiry is in Unix milliseconds, 0 for never. The caller checks the
// sizes. Once Put returns nil, every read sees the value, and under fsync.Always it is durable.
// After an error no read of the open store sees it; after ErrFailed the next Open may find it.
func (l *Log) Put(key, value []byte, expiry int64) error { return l.put(nil, key, value, expiry) }

// put is Put on a condition, unless that is nil.
func (l *Log) put(c Condition, key, value []byte, expiry int64) error {
	if size := segment.RecordSize(len(key), int64(len(value)), 0); size > l.catalog.LongSize() && size > longMin {
		return l.putLong(c, key, value, expiry)
	}
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft, w.Condition = &w.Own, c
	w.Fps = append(w.Fps, l.Hasher.Fingerprint(key))
	l.askIndex(w) // the record is made meanwhile
	w.Own.Put(key, value, expiry)
	return l.commit(w)
}

// Delete logs that a key has no value. It returns as Put does.
func (l *Log) Delete(key []byte, fp index.Fingerprint) error { return l.delete(nil, key, fp) }

// delete is Delete on a condition, unless that is nil.
func (l *Log) delete(c Condition, key []byte, fp index.Fingerprint) error {
	w := writes.Get().(*Write)
	defer w.discard()
	w.Draft, w.Condition, w.deletes = &w.Own, c, true
	w.Own.Delete(key)
	w.Fps = append(w.Fps, fp)
	l.askIndex(w)
	return l.commit(w)
}

// Write makes all changes of a draft or, on an error, none. It returns as Put does. The draft
// belongs to the log until Write returns.
func (l *Log) Write(draft *segment.Draft) error { return l.write(nil, draft) }

// write is Write on a condition, unless that is nil.
func (l *Log) write(c Condition, draft *segment.Draft) error {
	w := writes.Get().(*Write)
	defer w.discard()
	if size := draft.EncodedSize(true, true); size > l.catalog.LongSize() {
		w.expect(l.space, size)
		defer w.arrived(l.space)
	}
	w.Draft, w.Condition = draft, c
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
	l.askIndex(w)
	return l.commit(w)
}

// noteRevived notes the last put of each key. A key that a batch deletes and then puts is never
// absent, not even to a read while the batch is published.
func (w *Write) noteRevived() {
	w.revived = make(map[index.Fingerprint]int, len(w.Fps))
	for i, fp := range w.Fps {
		if !w.Draft.IsDelete(i) {
			w.revived[fp] = i
		}
	}
}

// expect waits until there is room for a large write, and counts it as used.
func (w *Write) expect(space *space.Space, size int64) {
	w.expected = size
	space.Expect(size)
}

// arrived ends what expect began. Calling it again does nothing.
func (w *Write) arrived(space *space.Space) {
	if w.expected != 0 {
		space.Arrived(w.expected)
		w.expected = 0
	}
}

// discard clears w for reuse.
func (w *Write) discard() {
	w.Own.Reset()
	w.Draft, w.Condition, w.long, w.Err, w.deletes, w.revived = nil, nil, nil, nil, false, nil
	w.Fps = w.Fps[:0]
	if cap(w.Fps) > 4096 {
		w.Fps = nil
	}
	writes.Put(w)
}
