package wal

import (
	"errors"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// tail is where the log goes on. Only the leader of the group touches it.
type tail struct {
	File     *catalog.File // the file being written; nil when the next write needs a new one
	seq      uint64        // the highest sequence number ever given
	End      segment.End   // where the log ends: offset in file, last number in the log
	previous segment.End   // where the log ended in the file before this one
	empty    bool          // the file has no record yet
	half     bool          // the file is half full, and maintenance knows
	clean    bool          // the manifest still says that the last close was clean
	told     uint64        // the watermark that the log tells
	toldAt   int64         // and the offset in the file where it last did
	buffer   []byte        // for groups of several writes
}

// appendTail gives the members their sequence numbers and writes them, and syncs
// them if the policy says so. On an error nothing of them counts.
func (l *Log) appendTail(members []*Write) error {
	t := &l.Tail
	p := segment.Placement{Salt: t.File.Salt, Offset: t.End.Offset, Seq: t.seq + 1,
		Watermark: l.catalog.Syncer.Durable()}
	p.HasWatermark = t.watermarkDue(p.Watermark)
	telling := p
	if t.empty && t.previous != (segment.End{}) {
		p.Previous = &t.previous
	}
	firstSeq := p.Seq
	if !t.empty {
		// Within a file numbers have no gaps, so that a missing record is noticed.
		invariant.Check(p.Seq == t.End.Seq+1, "record %d follows %d in one file", p.Seq, t.End.Seq)
	}
	var data []byte
	if len(members) == 1 {
		data = members[0].Draft.Finish(p)
		p.Seq += uint64(members[0].Draft.Len())
	} else {
		t.buffer = t.buffer[:0]
		for _, w := range members {
			encoded := w.Draft.Finish(p)
			t.buffer = bulk.Append(t.buffer, encoded)
			p = segment.Placement{Salt: p.Salt, Offset: p.Offset + int64(len(encoded)), Seq: p.Seq + uint64(w.Draft.Len())}
		}
		data = t.buffer
	}
	before := t.seq
	t.seq = p.Seq - 1
	l.catalog.LastGiven.Store(t.seq)

	if written, err := l.writeTail(data); err != nil {
		if written == 0 {
			t.seq = before // these numbers were never written anywhere
		}
		return err
	}
	if telling.HasWatermark {
		t.told, t.toldAt = telling.Watermark, telling.Offset
	}
	t.End = segment.End{Offset: t.End.Offset + int64(len(data)), Seq: t.seq}
	t.empty = false
	invariant.Check(t.End.Seq >= firstSeq, "a group of no records")
	return nil
}

// WatermarkEvery is how far apart in a file, in bytes, the places are that tell the
// watermark even if it is the old one: a disk loses a block at a time, and what
// comes next still tells that the lost was there.
const WatermarkEvery = 4 << 10

// watermarkDue says whether the next group tells the watermark. With one in every
// record a small one would be a twentieth larger.
func (t *tail) watermarkDue(watermark uint64) bool {
	return t.empty || watermark != t.told || t.End.Offset-t.toldAt >= WatermarkEvery
}

// writeTail appends the bytes to the tail file. Under Always it prepares the sync, and
// syncs them.
func (l *Log) writeTail(data []byte) (written int, err error) {
	active := l.Tail.File.Active
	if l.Always {
		if err := active.Fill(int64(len(data))); err != nil {
			return 0, l.catalog.Latch.WriteError(err)
		}
	}
	written, err = active.Append(data)
	if err != nil {
		if written > 0 {
			err = l.cutTail(err)
		}
		return written, l.catalog.Latch.WriteError(err)
	}
	return written, l.syncTail()
}

// cutTail ends the tail where the log is, and cuts the file there, after a write
// that failed in the middle and left records behind that place: the log goes on in
// another file, whose first record says that this one ends here. That nothing is
// behind it has to be on disk before that record is, and before the writer hears
// that nothing was written: what a power loss brought back would be taken for the
// log's end, and what damage of that record left in the log for a part of it.
func (l *Log) cutTail(cause error) error {
	active := l.Tail.File.Active
	err := active.Trim()
	if err == nil {
		err = active.Sync()
	}
	l.EndTail()
	if err != nil {
		return l.catalog.Latch.SyncError(errors.Join(cause, err))
	}
	return cause
}

// EndTail makes the tail's file one that gets no more records.
func (l *Log) EndTail() {
	l.catalog.Files.Finish(l.Tail.File, l.Tail.End)
	l.Tail.File = nil
}

// syncTail makes what was written to the tail durable, if the policy says that
// nobody may see it before.
func (l *Log) syncTail() error {
	if !l.Always {
		return nil
	}
	defer pace.Region("sync").End()
	if err := l.Tail.File.Active.Sync(); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	l.catalog.Syncer.MarkDurable(l.Tail.seq)
	return nil
}
