package wal

import (
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// findRoom makes the tail a file that can take the write.
func (l *Log) findRoom(w *Write) error {
	t := &l.Tail
	if t.File != nil && l.fitsTail(w.Draft.EncodedSize(true, t.empty)) {
		return nil
	}
	size := w.Draft.EncodedSize(true, true)
	err := l.Rotate(size, w.deletes)
	for w.deletes && errno.DiskFull(err) && l.MakeRoom() {
		err = l.Rotate(size, true)
	}
	return err
}

func (l *Log) fitsTail(size int64) bool {
	return size <= l.Tail.File.Capacity-l.Tail.End.Offset
}

// fit says how many members go into the tail file in one write, and how many
// bytes they take together.
func (l *Log) fit(members []*Write) (n int, size int64) {
	size = members[0].Draft.EncodedSize(true, l.Tail.empty)
	for n = 1; n < len(members); n++ {
		w := members[n]
		if w.long != nil {
			break
		}
		more := w.Draft.EncodedSize(false, false)
		if size+more > groupBytes || !l.fitsTail(size+more) {
			break
		}
		size += more
	}
	return n, size
}

// reserveTail makes sure that the disk has room for size more bytes of the tail.
// The reserve comes first. Where that leaves too little, what may use it takes the
// blocks that it needs, and no more.
func (l *Log) reserveTail(size int64, mayReserve bool) error {
	t := &l.Tail
	end := t.End.Offset + size
	if end <= t.File.Active.Allocated() {
		return nil
	}
	err := l.catalog.Reserve.Hold()
	if !errno.OutOfSpace(err) {
		err = t.File.Active.Reserve(end, catalog.GrowthStep, t.File.Capacity)
	}
	if mayReserve && errno.OutOfSpace(err) {
		err = l.reserveBlocks(end)
	}
	switch {
	case err == nil:
		l.Events.SpaceBack()
	case errno.OutOfSpace(err):
		l.Events.SpaceLow(err)
	}
	l.space.CheckRoom()
	return err
}

// reserveBlocks has the disk, which is full, grant the tail the blocks up to end.
func (l *Log) reserveBlocks(end int64) error {
	f := l.Tail.File
	most := min(vfs.OnDisk(end), f.Capacity)
	for {
		err := f.Active.Reserve(end, vfs.BlockSize, most)
		if !errno.OutOfSpace(err) {
			return err
		}
		if !l.catalog.Reserve.Give(most-f.Active.Allocated(), l.catalog.Reserve.ManifestRoom()) && !(errno.DiskFull(err) && l.MakeRoom()) {
			return err
		}
	}
}
