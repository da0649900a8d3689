package wal

import (
	"errors"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// groupBytes is the maximum size of what one group writes, in one pwrite.
const groupBytes = 4 << 20

// commit commits a write, together with others that arrive at the same time.
func (l *Log) commit(w *Write) error {
	stalled, err := l.catalog.Syncer.Throttle()
	if stalled > 0 {
		l.Events.Stalled(stalled)
	}
	if err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	if l.space.IsFull() {
		l.space.AwaitRoom()
	}
	w.Err = errUncommitted
	members, lead := l.group.Enter(w)
	if lead {
		defer l.group.Leave()
		for len(members) > 0 {
			members = members[l.CommitSome(members):]
		}
	}
	return w.Err
}

// errUncommitted is the error of a write that its leader did not get to.
var errUncommitted = errors.New("mmapkv: the write was not committed")

// CommitSome commits the first members, as many as go into the tail together, and returns how
// many are done; their Err says how each ended. It returns at least one, except that it returns
// none after it ended the tail at the process's file size limit: the next call then starts
// another file. The leader calls it; it is exported for tests.
func (l *Log) CommitSome(members []*Write) int {
	first := members[0]
	if err := l.BeforeWrite(first.deletes); err != nil {
		return fail(members[:1], err) // the next may be a delete, which has more room
	}
	if first.long != nil {
		first.Err = l.commitLong(first)
		return 1
	}
	if err := l.findRoom(first); err != nil {
		return fail(members[:1], err)
	}
	if !first.holds() {
		return fail(members[:1], ErrRefused)
	}
	taken, n, size := l.fit(members)
	for _, w := range taken {
		w.arrived(l.space) // the blocks that are reserved now count instead
	}
	err := l.reserveTail(size, first.deletes && len(taken) == 1)
	if err != nil && len(taken) > 1 {
		// There is not enough space for all of them, but perhaps for one.
		taken, n, size = members[:1], 1, first.Draft.EncodedSize(true, l.Tail.empty)
		err = l.reserveTail(size, first.deletes)
	}
	empty := l.Tail.empty
	if l.endAtLimit(err, empty) {
		return 0
	}
	if err != nil {
		return fail(members[:1], l.catalog.Latch.WriteError(err))
	}
	for _, w := range taken {
		l.beginPrefetch(w)
	}
	start := l.Tail.End.Offset
	if err := l.appendTail(taken); err != nil {
		if l.endAtLimit(err, empty) {
			return 0
		}
		fail(taken, err)
		return n
	}
	l.publish(taken, start)
	return n
}

// endAtLimit ends the tail if a write failed because the file would exceed the process's limit on
// file sizes, and reports whether it did. The write is then retried in a new file, where all the
// room below the limit is free. If the tail was empty, the write already had all that room, and
// fails. The write may have ended the tail already.
func (l *Log) endAtLimit(err error, empty bool) bool {
	if !errors.Is(err, errno.EFBIG) || errors.Is(err, failure.ErrFailed) || empty {
		return false
	}
	if l.Tail.File != nil {
		l.EndTail()
	}
	return true
}

// fail fails all members, and returns how many there are.
func fail(members []*Write, err error) int {
	for _, w := range members {
		w.Err = err
	}
	return len(members)
}

// BeforeWrite checks that the log takes writes. Before the first record, it also takes back the
// manifest's mark of a clean close. mayReserve lets that edit use the reserve. The leader calls
// it; it is exported for tests.
func (l *Log) BeforeWrite(mayReserve bool) error {
	if l.shut {
		return failure.ErrClosed
	}
	if err := l.catalog.Latch.Err(); err != nil {
		return err
	}
	if l.Tail.seq > catalog.MaxWritableSeq {
		return catalog.ErrUsedUp
	}
	if !l.Tail.markedClean {
		return nil
	}
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error { m.Clean = false; return nil })
	if err == nil {
		l.Tail.markedClean = false
	}
	return err
}
