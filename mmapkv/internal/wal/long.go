package wal

import (
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// longMin is the size in bytes below which no record gets a file of its own, however small the
// segments are.
const longMin = 4 << 10

// longChunk is how many bytes of a long value are copied and written at a time.
const longChunk = 1 << 20

// longWrite is a value that its writer writes, in chunks, to a file of its own before it joins
// the group. The group then writes only the record's header, last, which makes the value exist.
type longWrite struct {
	file       *catalog.File
	key        []byte
	size       int64  // of the value, in bytes
	sum        uint32 // the checksum of the value
	expiry     int64  // Unix milliseconds; 0 is never
	recordSize int64  // of the whole record, in bytes
}

// putLong is put for a value with a file of its own.
func (l *Log) putLong(c Condition, key, value []byte, expiry int64) error {
	flags := segment.HasWatermark | segment.HasPrevious
	if expiry != 0 {
		flags |= segment.Expires
	}
	size := segment.RecordSize(len(key), int64(len(value)), flags)
	w := writes.Get().(*Write)
	defer w.discard()
	w.expect(l.space, size)
	defer w.arrived(l.space)
	if err := l.catalog.Reserve.Hold(); err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	f, err := l.catalog.CreateFile(segment.HeaderSize + size)
	if err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	done := false // stays false if reading the value panics
	defer func() {
		if !done {
			l.catalog.DropUnlisted(f)
		}
	}()
	if err := f.Active.Preallocate(f.Capacity, f.Capacity, f.Capacity); err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	body := segment.HeaderSize + segment.LongLayout(len(key), flags)
	sum, err := segment.WriteLongValue(f.Handle(), body, value, make([]byte, min(longChunk, len(value))))
	if err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	if err := l.catalog.SyncNewFile(f); err != nil {
		return err
	}
	w.Condition = c
	w.long = &longWrite{file: f, key: append([]byte(nil), key...), size: int64(len(value)), sum: sum, expiry: expiry, recordSize: size}
	w.Fps = append(w.Fps, l.Hasher.Fingerprint(key))
	err = l.commit(w)
	done = err == nil
	return err
}

// commitLong makes a long value's file the next of the log, and writes the record's header.
func (l *Log) commitLong(w *Write) error {
	t, long := &l.Tail, w.long
	if !w.holds() {
		return ErrRefused
	}
	if err := l.enlist(long.file, false); err != nil {
		return err
	}
	w.arrived(l.space)
	l.startFile(long.file)
	t.seq++
	l.catalog.LastGiven.Store(t.seq)
	header := segment.LongHeader(long.key, long.size, long.sum, long.expiry, segment.Placement{
		Salt: long.file.Salt, Offset: t.End.Offset, Seq: t.seq,
		Watermark: l.catalog.Syncer.Durable(), HasWatermark: true, Previous: &t.previous})
	start := t.End
	if _, err := vfs.WriteFull(long.file.Handle(), header, start.Offset); err != nil {
		return l.catalog.Latch.WriteError(l.cutTail(err))
	}
	long.file.Active.Advance(long.recordSize)
	if err := l.syncTail(); err != nil {
		return err
	}
	t.End = segment.End{Offset: start.Offset + long.recordSize, Seq: t.seq}
	t.empty = false
	l.markWritten()
	l.space.CheckRoom()
	l.publishLong(w, start.Offset)
	long.file.HintDue.Store(segment.HintEntrySize(len(long.key)))
	// The file ends only after the index has the record. An ended file may be sealed, and
	// compaction drops records that the index does not have.
	l.EndTail()
	l.WakeMaintenance()
	return nil
}

// publishLong makes a long value visible to readers. Its record starts at an offset of the tail's
// file.
func (l *Log) publishLong(w *Write, start int64) {
	l.catalog.Publishing.Lock()
	defer l.catalog.Publishing.Unlock()
	long := w.long
	long.file.SetLimit(l.Tail.End.Offset)
	if l.Conflicts.Open() {
		l.Conflicts.Add(l.Tail.End.Seq, w.Fps[0].Hash, long.key)
	}
	l.markDead(l.publishPut(l.catalog.Set().Keys, w.Fps[0], start, long.recordSize, len(long.key), long.expiry), len(long.key))
	l.Published.Store(l.Tail.End.Seq)
}
