package wal

import (
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// findRoom makes sure that the tail has a file with room for the write.
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

// fitsTail reports whether size more bytes fit into the tail's file.
func (l *Log) fitsTail(size int64) bool {
	return size <= l.Tail.File.Capacity-l.Tail.End.Offset
}

// fit takes as many members as fit into the tail's file in one write, the first among them, and
// passes over those that it refuses. It returns how many members it took or refused, and the total
// size of those it took. A member whose verdict may depend on one of them ends the group: it is
// judged when they are published.
func (l *Log) fit(members []*Write) (taken []*Write, n int, size int64) {
	size = members[0].Draft.EncodedSize(true, l.Tail.empty)
	taken, asked := members[:1], 0
	for n = 1; n < len(members); n++ {
		w := members[n]
		if w.long != nil {
			break
		}
		more := w.Draft.EncodedSize(false, false)
		if size+more > groupBytes || !l.fitsTail(size+more) {
			break
		}
		if w.Condition != nil {
			if w.dependsOn(taken, &asked) {
				break
			}
			if !w.holds() {
				w.Err = ErrRefused
				continue
			}
		}
		taken = l.take(taken, members, n)
		size += more
	}
	return taken, n, size
}

// take adds the n-th member to those taken. As long as none is refused, they are a part of members,
// which others must not change: a member may be tried again.
func (l *Log) take(taken, members []*Write, n int) []*Write {
	if len(taken) == n {
		return members[:n+1]
	}
	if &taken[0] == &members[0] {
		taken = append(l.Tail.taken[:0], taken...)
	}
	taken = append(taken, members[n])
	l.Tail.taken = taken
	return taken
}

// reserveTail makes sure that the disk has room for size more bytes of the tail. The reserve is
// filled up first. If the disk then lacks space, a write that may use the reserve takes the
// blocks that it needs, and no more.
func (l *Log) reserveTail(size int64, mayReserve bool) error {
	t := &l.Tail
	end := t.End.Offset + size
	if end <= t.File.Active.Allocated() {
		return nil
	}
	err := l.catalog.Reserve.Hold()
	if !errno.OutOfSpace(err) {
		err = t.File.Active.Preallocate(end, catalog.GrowthStep, t.File.Capacity)
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

// reserveBlocks gets the tail the blocks up to end from a full disk.
func (l *Log) reserveBlocks(end int64) error {
	f := l.Tail.File
	maxEnd := min(vfs.OnDisk(end), f.Capacity)
	for {
		err := f.Active.Preallocate(end, vfs.BlockSize, maxEnd)
		if !errno.OutOfSpace(err) {
			return err
		}
		if !l.catalog.Reserve.Give(maxEnd-f.Active.Allocated(), l.catalog.Reserve.ManifestRoom()) && !(errno.DiskFull(err) && l.MakeRoom()) {
			return err
		}
	}
}
