package mmapkv

import (
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// longMin is the size in bytes below which no record gets a file of its own,
// however small the segments are.
const longMin = 4 << 10

// longChunk is how many bytes of a long value are copied and written at a time.
const longChunk = 1 << 20

// longSize is the size above which a record gets a file of its own, so that it
// neither holds up the group nor leaves a segment half empty.
func (s *Store) longSize() int64 { return s.options.SegmentSize / 4 }

// longWrite is a value that is written, in chunks, to a file of its own before
// its writer joins the group. There only its header is written, last, which
// makes the value exist.
type longWrite struct {
	file     *catalog.File
	key      []byte
	size     int64 // of the value
	sum      uint32
	expiry   int64
	recorded int64 // bytes of the whole record
}

func (s *Store) putLong(key, value []byte, expiry int64) error {
	flags := segment.HasWatermark | segment.HasPrevious
	if expiry != 0 {
		flags |= segment.Expires
	}
	size := segment.RecordSize(len(key), int64(len(value)), flags)
	w := writes.Get().(*write)
	defer w.discard()
	w.expect(s.space, size)
	defer w.arrived(s.space)
	if err := s.catalog.Reserve.Hold(); err != nil {
		return s.latch.WriteError(err)
	}
	f, err := s.catalog.CreateFile(segment.HeaderSize + size)
	if err != nil {
		return s.latch.WriteError(err)
	}
	done := false // not so when the value faults, either
	defer func() {
		if !done {
			s.catalog.DropUnlisted(f)
		}
	}()
	if err := f.Active.Reserve(f.Capacity, f.Capacity, f.Capacity); err != nil {
		return s.latch.WriteError(err)
	}
	body := segment.HeaderSize + segment.LongLayout(len(key), flags)
	sum, err := segment.WriteLongValue(f.Handle(), body, value, make([]byte, min(longChunk, len(value))))
	if err != nil {
		return s.latch.WriteError(err)
	}
	if err := s.catalog.SyncNewFile(f); err != nil {
		return err
	}
	w.long = &longWrite{file: f, key: append([]byte(nil), key...), size: int64(len(value)), sum: sum, expiry: expiry, recorded: size}
	w.prints = append(w.prints, s.hasher.Fingerprint(key))
	err = s.do(w)
	done = err == nil
	return err
}

// commitLong makes a long value's file the next of the log and writes the
// record's header.
func (s *Store) commitLong(w *write) error {
	t, long := &s.tail, w.long
	if err := s.enlist(long.file, false); err != nil {
		return err
	}
	w.arrived(s.space)
	s.startFile(long.file)
	t.seq++
	s.catalog.LastGiven.Store(t.seq)
	header := segment.LongHeader(long.key, long.size, long.sum, long.expiry, segment.Placement{
		Salt: long.file.Salt, Offset: t.end.Offset, Seq: t.seq,
		Watermark: s.syncer.Durable(), HasWatermark: true, Previous: &t.previous})
	start := t.end
	if _, err := vfs.WriteFull(long.file.Handle(), header, start.Offset); err != nil {
		return s.latch.WriteError(s.cutTail(err))
	}
	long.file.Active.Advance(long.recorded)
	t.end = segment.End{Offset: start.Offset + long.recorded, Seq: t.seq}
	t.empty = false
	if err := s.syncTail(); err != nil {
		return err
	}
	s.acknowledge()
	s.space.CheckRoom()
	long.file.SetLimit(t.end.Offset)
	long.file.AddLive(long.recorded, len(long.key), 1)
	long.file.HintDue.Store(segment.HintEntrySize(len(long.key)))
	if long.expiry != 0 {
		long.file.MayShadow.Store(true)
	}
	old := s.catalog.Set().Keys.Put(w.prints[0], index.MakeLocation(long.file.Slot, start.Offset, long.recorded))
	s.published.Store(t.end.Seq)
	s.markDead(old, len(long.key))
	if long.expiry != 0 {
		s.sweeper.Expires(long.file, start.Offset, long.file.Capacity, long.expiry)
		s.sweeper.Start()
	}
	// Not before the index has the record: a file that has ended may be sealed, and
	// compaction drops what the index does not have.
	s.endTail()
	s.wakeMaintenance()
	return nil
}
