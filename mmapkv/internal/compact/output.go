package compact

import (
	"errors"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/segment"
)

// write appends a record, or a tombstone in its place, to the output.
func (m *rewrite) write(r *segment.Record, tombstone bool) (size int64, err error) {
	if m.out == nil {
		if err := m.create(); err != nil {
			return 0, err
		}
	}
	at := m.end.Offset
	if at > segment.MaxOffset {
		return 0, errors.New("mmapkv: what is alive in a segment does not fit into one")
	}
	ok, before := true, len(m.buffer)
	if tombstone {
		m.buffer = r.AppendTombstone(m.buffer, m.header.Salt, at)
	} else if m.buffer, ok = r.AppendCopy(m.buffer, m.header.Salt, at); !ok {
		return 0, errDamagedValue
	}
	size = int64(len(m.buffer) - before)
	m.end = segment.End{Offset: at + size, Seq: r.Seq}
	entry := segment.Entry{Offset: at, Size: size, Seq: r.Seq, Key: r.Key}
	if tombstone {
		entry.Flags = segment.Tombstone
	} else if r.Flags&segment.Expires != 0 {
		entry.Flags, entry.Expiry = segment.Expires, r.Expiry
		m.Made.ExpiriesOf(m.most()).Add(at, r.Expiry)
	}
	if entry.Flags != 0 {
		m.Made.MayShadow.Store(true)
	}
	m.hint.Add(entry)
	if len(m.buffer) >= bufferSize {
		return size, m.flush()
	}
	return size, nil
}

// most is how large the output is at most.
func (m *rewrite) most() int64 {
	bytes := m.header.Size()
	for _, f := range m.Run {
		bytes += f.Limit()
	}
	return bytes
}

// create makes the output.
func (m *rewrite) create() error {
	c := m.compactor
	m.id = c.catalog.NextID()
	m.header = segment.Header{ID: m.id, Salt: c.catalog.Random(), Kind: segment.Merged}
	for _, f := range m.Run {
		m.header.Replaces = append(m.header.Replaces, f.ID)
	}
	var err error
	if m.out, err = c.catalog.Dir.Create(segment.FileName(m.id)); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	m.buffer = m.header.Append(m.buffer)
	m.end.Offset = m.header.Size()
	m.Made = &catalog.File{Pins: map[segment.ID]int64{}}
	m.hint = segment.NewHintBuilder()
	m.hint.Pause = m.pacer.Pause
	return nil
}

// growthSteps is in how many steps room is taken for an output of a segment's size.
const growthSteps = 64

// flush writes what is buffered, where there is room for it first.
func (m *rewrite) flush() error {
	c := m.compactor
	if m.end.Offset > m.granted {
		m.granted = m.end.Offset + c.catalog.SegmentSize/growthSteps
		err := m.out.Allocate(m.granted)
		if errno.OutOfSpace(err) {
			m.granted = m.end.Offset
			err = m.out.Allocate(m.granted)
		}
		if err != nil {
			return c.catalog.Latch.WriteError(err)
		}
	}
	if _, err := vfs.WriteFull(m.out, m.buffer, m.written); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	vfs.Flush(m.out, m.written, int64(len(m.buffer)))
	m.written += int64(len(m.buffer))
	m.buffer = m.buffer[:0]
	return nil
}

// finish makes the output a sealed file, durable, with a hint, and mapped.
func (m *rewrite) finish() (*catalog.File, error) {
	c := m.compactor
	if err := m.flush(); err != nil {
		return nil, err
	}
	if err := m.out.Truncate(m.end.Offset); err != nil {
		return nil, c.catalog.Latch.WriteError(err)
	}
	if err := m.out.Datasync(); err != nil {
		return nil, c.catalog.Latch.SyncError(err)
	}
	// The log was here at the end of the run, whatever of it is left.
	m.end.Seq = m.Run[len(m.Run)-1].End.Seq
	f := m.Made
	f.DataStart, f.Capacity, f.End, f.Ended = m.header.Size(), c.catalog.SegmentSize, m.end, true
	hint := m.hint.Encode(m.id, m.header.Salt, m.end, c.catalog.Syncer.Durable())
	f.HintBytes.Store(segment.HintSize(hint))
	// It syncs the directory, and so the name of the new file too.
	if err := fsync.Publish(c.catalog.Dir, segment.HintName(m.id), hint, m.pacer.Pause); err != nil {
		return nil, c.catalog.Latch.WriteError(err)
	}
	if m.cold {
		vfs.Evict(m.out)
	}
	out := m.out
	m.out = nil // OpenSegment closes it when it fails
	var err error
	if f.Segment, err = segment.OpenSegment(out, m.header, m.end.Offset); err != nil {
		return nil, err
	}
	f.SetLimit(m.end.Offset)
	if !m.cold {
		residency.PrefaultAll(f)
	}
	f.Cold.Store(m.cold)
	c.catalog.LockNew(f)
	return f, nil
}
