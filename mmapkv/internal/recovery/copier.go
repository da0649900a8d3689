package recovery

import (
	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// copier writes records, with their sequence numbers, to new files.
type copier struct {
	catalog  *catalog.Catalog
	files    []*catalog.File
	end      segment.End // in the last file
	previous segment.End // where the file before the last one ends
	draft    segment.Draft
	first    uint64 // sequence number of the draft's first record
	walker   *segment.Walker
	pending  []byte // not written yet to the last file
}

// copyBytes is roughly how much recovery copies with one write.
const copyBytes = 1 << 20

// copyRecords copies, batch by batch, the records of one file that count and are not known to be
// on disk.
func (c *copier) copyRecords(u *unsealedFile) error {
	for i := u.counts.Synced; i < u.counts.Records; i++ {
		r := u.found.At(i)
		if i == u.counts.Synced || c.walker.Offset() != r.Offset {
			c.walker = segment.NewWalker(u.file.Handle(), u.file.Salt, r.Offset, u.counts.End.Offset)
		}
		if err := c.take(u, r); err != nil {
			return err
		}
		if r.BatchGoesOn {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

// take reads a record, checks it again, and adds it to the draft. A record that rotted since the
// scan must not get a fresh checksum.
func (c *copier) take(u *unsealedFile, r replay.Record) error {
	var record segment.Record
	err := c.walker.Next(&record)
	if err == nil {
		err = c.walker.Load(&record)
	}
	if err != nil {
		return u.file.Corrupt(r.Offset, err.Error())
	}
	if !record.ValueOK() {
		return u.file.Corrupt(r.Offset, failure.BadValue)
	}
	if c.draft.Len() == 0 {
		c.first = r.Seq
	}
	if record.Flags&segment.Tombstone != 0 {
		c.draft.Delete(record.Key)
	} else {
		c.draft.Put(record.Key, record.Value, record.Expiry)
	}
	return nil
}

// flush adds the draft to the pending bytes. It starts a new file if the last one has no room, or
// if sequence numbers are missing before the draft. They are missing after a write that failed,
// but within a file a gap would mean damage.
func (c *copier) flush() error {
	size := c.draft.EncodedSize(true, true)
	if n := len(c.files); n == 0 || size > c.files[n-1].Capacity-c.end.Offset || c.first != c.end.Seq+1 {
		if err := c.write(); err != nil {
			return err
		}
		if n > 0 {
			c.previous = c.end
		}
		f, err := c.catalog.CreateFile(max(c.catalog.SegmentSize, segment.HeaderSize+size))
		if err != nil {
			return c.catalog.Latch.WriteError(err)
		}
		f.Recovered = &catalog.Recovered{Scanned: segment.NewHintBuilder()}
		c.files = append(c.files, f)
		c.end = segment.End{Offset: f.DataStart}
	}
	f := c.files[len(c.files)-1]
	p := segment.Placement{Salt: f.Salt, Offset: c.end.Offset, Seq: c.first, Watermark: c.catalog.Syncer.Durable()}
	p.HasWatermark = c.end.Offset == f.DataStart // the manifest tells the rest
	if p.HasWatermark && c.previous != (segment.End{}) {
		p.Previous = &c.previous
	}
	data := c.draft.Finish(p)
	c.addHints(f)
	c.pending = bulk.Append(c.pending, data)
	c.end = segment.End{Offset: c.end.Offset + int64(len(data)), Seq: c.first + uint64(c.draft.Len()) - 1}
	f.End = c.end
	c.draft.Reset()
	if len(c.pending) < copyBytes {
		return nil
	}
	return c.write()
}

// addHints adds the records of the draft, which go to the end of a file, to what is known of it.
func (c *copier) addHints(f *catalog.File) {
	for i := range c.draft.Len() {
		offset, size := c.draft.Position(i, c.end.Offset)
		e := segment.Entry{Offset: offset, Size: size, Seq: c.first + uint64(i), Key: c.draft.Key(i), Expiry: c.draft.Expiry(i)}
		if c.draft.IsDelete(i) {
			e.Flags |= segment.Tombstone
		}
		if e.Expiry != 0 {
			e.Flags |= segment.Expires
		}
		f.Recovered.Scanned.Add(e)
	}
}

// write writes what is pending.
func (c *copier) write() error {
	if len(c.pending) == 0 {
		return nil
	}
	f := c.files[len(c.files)-1]
	if err := f.Active.Preallocate(c.end.Offset, catalog.GrowthStep, f.Capacity); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	if _, err := f.Active.Append(c.pending); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	c.pending = c.pending[:0]
	f.SetLimit(c.end.Offset)
	return nil
}

// finish makes the new files durable.
func (c *copier) finish() ([]*catalog.File, error) {
	if err := c.write(); err != nil {
		return nil, err
	}
	for _, f := range c.files {
		if err := f.Active.Sync(); err != nil {
			return nil, c.catalog.Latch.SyncError(err)
		}
	}
	if len(c.files) > 0 {
		if err := c.catalog.Dir.Sync(); err != nil {
			return nil, c.catalog.Latch.SyncError(err)
		}
	}
	return c.files, nil
}
