package wal

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// publish makes the members visible to readers, in order. Their records start at an offset of the
// tail's file.
func (l *Log) publish(members []*Write, start int64) {
	t := &l.Tail
	l.markWritten()
	hints := l.moveIndex(members, start)
	t.File.HintDue.Add(hints)
	l.residency.Grown(t.File, t.End.Offset)
	if t.End.Offset >= t.partialDue {
		t.partialDue = t.End.Offset + l.PartStep
		l.WakeMaintenance()
	}
	if !t.halfFull && t.End.Offset > t.File.Capacity/2 {
		t.halfFull = true
		l.WakeMaintenance() // it prepares the next file now
	}
}

// moveIndex makes the index point to the members' records, and then counts these as published. It
// returns what their hint entries take, as segment.HintEntrySize estimates.
func (l *Log) moveIndex(members []*Write, start int64) (hints int64) {
	l.catalog.Publishing.Lock()
	defer l.catalog.Publishing.Unlock()
	t := &l.Tail
	t.File.SetLimit(t.End.Offset)
	if l.Conflicts.Open() {
		l.tellConflicts(members)
	}
	set := l.catalog.Set()
	keys := set.Keys
	for _, w := range members {
		for i, fp := range w.Fps {
			l.prefetch(keys, w.Fps, i)
			offset, size := w.Draft.Position(i, start)
			keySize := len(w.Draft.Key(i))
			hints += segment.HintEntrySize(keySize)
			var old index.Location
			if w.Draft.IsDelete(i) {
				t.File.MayShadow.Store(true)
				if last, put := w.revived[fp]; !put || last < i {
					old = l.publishDelete(set, fp, offset)
				}
			} else {
				old = l.publishPut(keys, fp, offset, size, keySize, w.Draft.Expiry(i))
			}
			l.markDead(old, keySize)
			if i == len(w.Fps)-1 {
				start = offset + size // where the next member's records begin
			}
		}
		w.Err = nil
	}
	l.Published.Store(t.End.Seq)
	return hints
}

// tellConflicts tells the open transactions which keys the members write. They have the last numbers of
// the log.
func (l *Log) tellConflicts(members []*Write) {
	seq := l.Tail.End.Seq
	for _, w := range members {
		seq -= uint64(len(w.Fps))
	}
	for _, w := range members {
		for i, fp := range w.Fps {
			seq++
			l.Conflicts.Add(seq, fp.Hash, w.Draft.Key(i))
		}
	}
}

// publishDelete makes the index point to no record of a key, whose tombstone lies at an offset of the
// tail, and returns where it pointed before. While files are loaded, a placeholder keeps the place of
// the key, so that no older record gets it.
func (l *Log) publishDelete(set *catalog.FileSet, fp index.Fingerprint, offset int64) (old index.Location) {
	if !set.Partial {
		return set.Keys.Delete(fp)
	}
	placeholder := index.MakeLocation(l.Tail.File.Slot, offset, 0)
	old = set.Keys.Put(fp, placeholder)
	if l.catalog.Loaded.Load() { // the sweep of the placeholders may have passed
		set.Keys.CompareAndSwap(fp, placeholder, index.NoLocation)
	}
	return old
}

// publishPut makes the index point to a record of the tail that has a value, and returns where it
// pointed before.
func (l *Log) publishPut(keys *index.KeyDir, fp index.Fingerprint, offset, size int64, keySize int, expiry int64) (old index.Location) {
	f := l.Tail.File
	checkPublished(f, offset, size)
	f.Enliven(offset, size, keySize)
	old = keys.Put(fp, index.MakeLocation(f.Slot, offset, size))
	if expiry != 0 {
		f.MayShadow.Store(true)
		l.sweeper.Expires(f, offset, f.Capacity, expiry)
		l.sweeper.Start()
	}
	return old
}

// markWritten marks everything that has a sequence number as written, so that it may be synced.
// The index changes only afterwards: compaction syncs the log as far as any record that it finds
// dead because of the index.
func (l *Log) markWritten() {
	l.Written.Store(l.Tail.seq)
	if !l.Always {
		l.catalog.Syncer.Written(l.Tail.seq)
	}
}

// markDead counts as dead the record at a location that the index no longer points to because of the
// commit that ends the log, unless compaction has removed its file.
func (l *Log) markDead(old index.Location, keySize int) {
	if old == index.NoLocation || old.Tombstone() {
		return
	}
	if f := l.catalog.Set().File(old); f != nil {
		f.Died.Store(l.Tail.End.Seq)
		f.Kill(old.Offset(), f.RecordSize(old), keySize)
	}
}
