package mmapkv

import (
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// findRoom makes the tail a file that can take the write.
func (l *log) findRoom(w *write) error {
	t := &l.tail
	if t.file != nil && l.fitsTail(w.draft.EncodedSize(true, t.empty)) {
		return nil
	}
	size := w.draft.EncodedSize(true, true)
	err := l.rotate(size, w.deletes)
	for w.deletes && errno.DiskFull(err) && l.MakeRoom() {
		err = l.rotate(size, true)
	}
	return err
}

func (l *log) fitsTail(size int64) bool {
	return size <= l.tail.file.Capacity-l.tail.end.Offset
}

// fit says how many members go into the tail file in one write, and how many
// bytes they take together.
func (l *log) fit(members []*write) (n int, size int64) {
	size = members[0].draft.EncodedSize(true, l.tail.empty)
	for n = 1; n < len(members); n++ {
		w := members[n]
		if w.long != nil {
			break
		}
		more := w.draft.EncodedSize(false, false)
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
func (l *log) reserveTail(size int64, mayReserve bool) error {
	t := &l.tail
	end := t.end.Offset + size
	if end <= t.file.Active.Allocated() {
		return nil
	}
	err := l.catalog.Reserve.Hold()
	if !errno.OutOfSpace(err) {
		err = t.file.Active.Reserve(end, catalog.GrowthStep, t.file.Capacity)
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
func (l *log) reserveBlocks(end int64) error {
	f := l.tail.file
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
