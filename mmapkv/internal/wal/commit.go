package wal

import (
	"errors"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// groupBytes is how much one group writes at most, in one pwrite.
const groupBytes = 4 << 20

// do commits a write together with others that come at the same time.
func (l *Log) do(w *Write) error {
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
	keys := l.catalog.Set().Keys // Close waits for this write
	for _, print := range w.Prints[:min(prefetch.Ahead, len(w.Prints))] {
		keys.Prefetch(print.Hash)
	}
	members, lead := l.group.Enter(w)
	if lead {
		defer l.group.Leave()
		for len(members) > 0 {
			members = members[l.CommitSome(members):]
		}
	}
	return w.Err
}

// errUncommitted is the error of a write whose leader did not come to it.
var errUncommitted = errors.New("mmapkv: the write was not committed")

// CommitSome writes as many of the members, in order, as go into the file
// together, at least one, and returns how many it has dealt with. That is none where it
// has ended the tail instead, at the limit for the size of files: the next call begins
// another file.
func (l *Log) CommitSome(members []*Write) int {
	first := members[0]
	if err := l.BeforeWrite(first.deletes); err != nil {
		return fail(members[:1], err) // there may be room for a delete
	}
	if first.long != nil {
		first.Err = l.commitLong(first)
		return 1
	}
	if err := l.findRoom(first); err != nil {
		return fail(members[:1], err)
	}
	n, size := l.fit(members)
	for _, w := range members[:n] {
		w.arrived(l.space) // what is reserved counts from here on
	}
	err := l.reserveTail(size, first.deletes && n == 1)
	if err != nil && n > 1 {
		// Not enough for all of them; perhaps for one.
		n, size = 1, first.Draft.EncodedSize(true, l.Tail.empty)
		err = l.reserveTail(size, first.deletes)
	}
	empty := l.Tail.empty
	if l.endAtLimit(err, empty) {
		return 0
	}
	if err != nil {
		return fail(members[:1], l.catalog.Latch.WriteError(err))
	}
	start := l.Tail.End.Offset
	if err := l.appendTail(members[:n]); err != nil {
		if l.endAtLimit(err, empty) {
			return 0
		}
		return fail(members[:n], err)
	}
	l.publish(members[:n], start)
	return n
}

// endAtLimit ends the tail, which may have ended by now, if the error of a write is that
// the file may not become so long: there is a limit for the process, in front of where
// the write ends. The log goes on in another file, where the write has all the room below
// the limit. It had that already if the tail was empty.
func (l *Log) endAtLimit(err error, empty bool) bool {
	if !errors.Is(err, errno.EFBIG) || errors.Is(err, failure.ErrFailed) || empty {
		return false
	}
	if l.Tail.File != nil {
		l.EndTail()
	}
	return true
}

func fail(members []*Write, err error) int {
	for _, w := range members {
		w.Err = err
	}
	return len(members)
}

// BeforeWrite checks that writing may go on, and takes back the manifest's word
// that the store was closed cleanly before the first record makes it a lie.
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
	if !l.Tail.clean {
		return nil
	}
	err := l.catalog.Edit(mayReserve, func(m *segment.Manifest) error { m.Clean = false; return nil })
	if err == nil {
		l.Tail.clean = false
	}
	return err
}
