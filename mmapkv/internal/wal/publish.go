package wal

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// publish lets the readers see the members, in order, whose records start at the
// offset in the tail file.
func (l *Log) publish(members []*Write, start int64) {
	t := &l.Tail
	l.acknowledge()
	t.File.SetLimit(t.End.Offset)
	keys := l.catalog.Set().Keys
	hints := int64(0)
	for _, w := range members {
		for i, print := range w.Prints {
			if next := i + prefetch.Ahead; next < len(w.Prints) {
				keys.Prefetch(w.Prints[next].Hash)
			}
			offset, size := w.Draft.Position(i, start)
			keySize := len(w.Draft.Key(i))
			hints += segment.HintEntrySize(keySize)
			var old index.Location
			if w.Draft.IsDelete(i) {
				t.File.MayShadow.Store(true)
				if w.revived[print] <= i {
					old = keys.Delete(print)
				}
			} else {
				old = keys.Put(print, index.MakeLocation(t.File.Slot, offset, size))
				t.File.AddLive(size, keySize, 1)
				if expiry := w.Draft.Expiry(i); expiry != 0 {
					t.File.MayShadow.Store(true)
					l.sweeper.Expires(t.File, offset, t.File.Capacity, expiry)
					l.sweeper.Start()
				}
			}
			l.markDead(old, keySize)
			if i == len(w.Prints)-1 {
				start = offset + size // where the next member begins
			}
		}
		w.Err = nil
	}
	l.Published.Store(t.End.Seq)
	t.File.HintDue.Add(hints)
	l.residency.Grown(t.File, t.End.Offset)
	if !t.half && t.End.Offset > t.File.Capacity/2 {
		t.half = true
		l.WakeMaintenance() // the next file is prepared now
	}
}

// acknowledge says that all that was given a number is written and may be synced.
// It comes before the index: what compaction sees there to have made a record dead
// it must be able to sync.
func (l *Log) acknowledge() {
	l.Acknowledged.Store(l.Tail.seq)
	if !l.Always {
		l.catalog.Syncer.Written(l.Tail.seq)
	}
}

// markDead counts the record at a location that the index no longer points to,
// unless compaction has taken its file out meanwhile.
func (l *Log) markDead(old index.Location, keySize int) {
	if old == index.NoLocation {
		return
	}
	if f := l.catalog.Set().File(old); f != nil {
		f.AddLive(f.RecordSize(old), keySize, -1)
	}
}
