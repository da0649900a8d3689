package wal

import (
	"errors"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// tail is where the log continues. Only the leader of the group uses it.
type tail struct {
	// File is the file being written; nil if the next write needs a new one.
	File *catalog.File
	seq  uint64 // the highest sequence number ever assigned
	// End is where the log ends: the offset in File, and the last sequence number of the log.
	End         segment.End
	previous    segment.End // where the log ended in the previous file
	empty       bool        // the file has no record yet
	halfFull    bool        // the file is half full, and maintenance knows
	markedClean bool        // the manifest still says that the store was closed cleanly
	partialDue  int64       // from this offset on, maintenance looks whether to write a partial hint
	watermark   uint64      // the last watermark that the log recorded
	watermarkAt int64       // the offset in the file where it did
	buffer      []byte      // for groups of several writes
	taken       []*Write    // for groups of which some are refused
}

// appendTail assigns sequence numbers to the members, writes their records, and syncs them if the
// policy requires it. After an error nobody sees any of the records. After ErrFailed the next Open
// may find them.
func (l *Log) appendTail(members []*Write) error {
	t := &l.Tail
	p := segment.Placement{Salt: t.File.Salt, Offset: t.End.Offset, Seq: t.seq + 1,
		Watermark: l.catalog.Syncer.Durable()}
	p.HasWatermark = t.watermarkDue(p.Watermark)
	// Only the group's first record carries the watermark, and p moves on from member to member.
	told, watermark := p.HasWatermark, p.Watermark
	if t.empty && t.previous != (segment.End{}) {
		p.Previous = &t.previous
	}
	firstSeq := p.Seq
	if !t.empty {
		// Within a file the numbers have no gaps, so that recovery notices a missing record.
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
	if told {
		t.watermark, t.watermarkAt = watermark, t.End.Offset
	}
	t.End = segment.End{Offset: t.End.Offset + int64(len(data)), Seq: t.seq}
	t.empty = false
	invariant.Check(t.End.Seq >= firstSeq, "a group of no records")
	return nil
}

// WatermarkEvery is the distance in bytes, within a file, after which a record repeats the
// watermark even if it has not changed. A disk loses whole blocks, and the records after a lost
// block then still tell that it was durable. It is exported for tests.
const WatermarkEvery = 4 << 10

// watermarkDue reports whether the next group records the watermark. In every record it would
// make small ones five percent larger.
func (t *tail) watermarkDue(watermark uint64) bool {
	return t.empty || watermark != t.watermark || t.End.Offset-t.watermarkAt >= WatermarkEvery
}

// writeTail appends the bytes to the tail's file, and syncs them under fsync.Always.
func (l *Log) writeTail(data []byte) (written int, err error) {
	active := l.Tail.File.Active
	l.checkTail()
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

// cutTail ends the tail after a write that failed midway, and cuts the file at the end of the
// log. The log continues in another file, whose first record says that this one ends here. The
// cut must be durable before that record is, and before the writer hears that nothing was
// written. Otherwise a power loss could bring the cut records back, and recovery would take them
// for the end of the log, or, if that first record were damaged, for a part of it.
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

// EndTail ends the tail: its file gets no more records, and the next write needs a new one. The
// leader calls it; it is exported for tests.
func (l *Log) EndTail() {
	l.catalog.Files.Finish(l.Tail.File, l.Tail.End)
	l.Tail.File = nil
}

// syncTail makes everything written to the tail durable, if the policy allows nobody to see it
// earlier. The leader needs no token of the Syncer for that, nor in cutTail: whichever sync fails
// latches, so no later one is believed.
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
