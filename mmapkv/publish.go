package mmapkv

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// publish lets the readers see the members, in order, whose records start at the
// offset in the tail file.
func (l *log) publish(members []*write, start int64) {
	t := &l.tail
	l.acknowledge()
	t.file.SetLimit(t.end.Offset)
	keys := l.catalog.Set().Keys
	hints := int64(0)
	for _, w := range members {
		for i, print := range w.prints {
			if next := i + prefetch.Ahead; next < len(w.prints) {
				keys.Prefetch(w.prints[next].Hash)
			}
			offset, size := w.draft.Position(i, start)
			keySize := len(w.draft.Key(i))
			hints += segment.HintEntrySize(keySize)
			var old index.Location
			if w.draft.IsDelete(i) {
				t.file.MayShadow.Store(true)
				if w.revived[print] <= i {
					old = keys.Delete(print)
				}
			} else {
				old = keys.Put(print, index.MakeLocation(t.file.Slot, offset, size))
				t.file.AddLive(size, keySize, 1)
				if expiry := w.draft.Expiry(i); expiry != 0 {
					t.file.MayShadow.Store(true)
					l.sweeper.Expires(t.file, offset, t.file.Capacity, expiry)
					l.sweeper.Start()
				}
			}
			l.markDead(old, keySize)
			if i == len(w.prints)-1 {
				start = offset + size // where the next member begins
			}
		}
		w.err = nil
	}
	l.published.Store(t.end.Seq)
	t.file.HintDue.Add(hints)
	l.residency.Grown(t.file, t.end.Offset)
	if !t.half && t.end.Offset > t.file.Capacity/2 {
		t.half = true
		l.wakeMaintenance() // the next file is prepared now
	}
}

// acknowledge says that all that was given a number is written and may be synced.
// It comes before the index: what compaction sees there to have made a record dead
// it must be able to sync.
func (l *log) acknowledge() {
	l.acknowledged.Store(l.tail.seq)
	if !l.Always {
		l.catalog.Syncer.Written(l.tail.seq)
	}
}

// markDead counts the record at a location that the index no longer points to,
// unless compaction has taken its file out meanwhile.
func (l *log) markDead(old index.Location, keySize int) {
	if old == index.NoLocation {
		return
	}
	if f := l.catalog.Set().File(old); f != nil {
		f.AddLive(f.RecordSize(old), keySize, -1)
	}
}
