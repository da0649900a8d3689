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

// write appends a record to the output, or a tombstone in its place, and returns the size
// written.
func (rw *rewrite) write(r *segment.Record, tombstone bool) (size int64, err error) {
	if rw.file == nil {
		if err := rw.create(); err != nil {
			return 0, err
		}
	}
	at := rw.end.Offset
	if at > segment.MaxOffset {
		return 0, errors.New("mmapkv: the live records of a segment do not fit into one")
	}
	ok, before := true, len(rw.buffer)
	if tombstone {
		rw.buffer = r.AppendTombstone(rw.buffer, rw.header.Salt, at)
	} else if rw.buffer, ok = r.AppendCopy(rw.buffer, rw.header.Salt, at); !ok {
		return 0, errDamagedValue
	}
	size = int64(len(rw.buffer) - before)
	rw.end = segment.End{Offset: at + size, Seq: r.Seq}
	entry := segment.Entry{Offset: at, Size: size, Seq: r.Seq, Key: r.Key}
	if tombstone {
		entry.Flags = segment.Tombstone
	} else if r.Flags&segment.Expires != 0 {
		entry.Flags, entry.Expiry = segment.Expires, r.Expiry
		rw.Output.ExpiriesOf(rw.maxSize()).Add(at, r.Expiry)
	}
	if entry.Flags != 0 {
		rw.Output.MayShadow.Store(true)
	}
	rw.hint.Add(entry)
	if len(rw.buffer) >= bufferSize {
		return size, rw.flush()
	}
	return size, nil
}

// maxSize returns the maximum size of the output in bytes.
func (rw *rewrite) maxSize() int64 {
	bytes := rw.header.Size()
	for _, f := range rw.Run {
		bytes += f.Limit()
	}
	return bytes
}

// create makes the output.
func (rw *rewrite) create() error {
	c := rw.compactor
	rw.id = c.catalog.NextID()
	rw.header = segment.Header{ID: rw.id, Salt: c.catalog.Random(), Kind: segment.Merged}
	for _, f := range rw.Run {
		rw.header.Replaces = append(rw.header.Replaces, f.ID)
	}
	var err error
	if rw.file, err = c.catalog.Dir.Create(segment.FileName(rw.id)); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	rw.buffer = rw.header.Append(rw.buffer)
	rw.end.Offset = rw.header.Size()
	rw.Output = &catalog.File{NeededBy: map[segment.ID]int64{}}
	rw.hint = segment.NewHintBuilder()
	rw.hint.Pause = rw.pacer.Pause
	return nil
}

// growthSteps is in how many steps the output gets its space, if it becomes as large as a
// segment.
const growthSteps = 64

// flush writes the buffer. It reserves the space first.
func (rw *rewrite) flush() error {
	c := rw.compactor
	if rw.end.Offset > rw.granted {
		rw.granted = rw.end.Offset + c.catalog.SegmentSize/growthSteps
		err := rw.file.Allocate(rw.granted)
		if errno.OutOfSpace(err) {
			rw.granted = rw.end.Offset
			err = rw.file.Allocate(rw.granted)
		}
		if err != nil {
			return c.catalog.Latch.WriteError(err)
		}
	}
	if _, err := vfs.WriteFull(rw.file, rw.buffer, rw.written); err != nil {
		return c.catalog.Latch.WriteError(err)
	}
	vfs.Flush(rw.file, rw.written, int64(len(rw.buffer)))
	rw.written += int64(len(rw.buffer))
	rw.buffer = rw.buffer[:0]
	return nil
}

// finish makes the output a sealed file: durable, with a hint, and mapped.
func (rw *rewrite) finish() (*catalog.File, error) {
	c := rw.compactor
	if err := rw.flush(); err != nil {
		return nil, err
	}
	if err := rw.file.Truncate(rw.end.Offset); err != nil {
		return nil, c.catalog.Latch.WriteError(err)
	}
	if err := rw.file.Datasync(); err != nil {
		return nil, c.catalog.Latch.SyncError(err)
	}
	// The log had reached this number at the end of the run, whether or not its record is left.
	rw.end.Seq = rw.Run[len(rw.Run)-1].End.Seq
	f := rw.Output
	f.DataStart, f.Capacity, f.End, f.Ended = rw.header.Size(), c.catalog.SegmentSize, rw.end, true
	f.Alive.Cover(rw.end.Offset)
	hint := rw.hint.Encode(rw.id, rw.header.Salt, rw.end, c.catalog.Syncer.Durable())
	f.HintBytes.Store(segment.HintSize(hint))
	// Publish syncs the directory, and so the name of the new file too.
	if err := fsync.Publish(c.catalog.Dir, segment.HintName(rw.id), hint, rw.pacer.Pause); err != nil {
		return nil, c.catalog.Latch.WriteError(err)
	}
	if rw.cold {
		vfs.Evict(rw.file)
	}
	out := rw.file
	rw.file = nil // OpenSegment closes it if it fails
	var err error
	if f.Segment, err = segment.OpenSegment(out, rw.header, rw.end.Offset); err != nil {
		return nil, err
	}
	f.SetLimit(rw.end.Offset)
	if !rw.cold {
		residency.PrefaultAll(f)
	}
	f.Cold.Store(rw.cold)
	c.catalog.LockNew(f)
	return f, nil
}
