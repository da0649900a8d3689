package load

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// source is a file whose records go into the index. Loading.mu guards it, except while a worker
// opens its hint.
type source struct {
	of     *Loading
	file   *catalog.File
	end    segment.End // of its records when the store was opened
	sealed bool        // the file was sealed then

	recovered bool  // the source has a table that recovery found, and not all of the file
	upTo      int64 // where the records of that table end; 0: it has all of the file
	entries   int   // of that table

	hint    *hints.Hint // nil: not open
	rebuilt bool        // the hint was rebuilt
	next    int         // the first piece that no worker has taken
	busy    int         // workers that read a piece
	failed  bool        // a piece could not be read, or a part of it is damaged
	read    bool        // all pieces were read
	holders int         // workers that have collected records of it, and not yet put them into the index
	loaded  bool        // all its records are in the index
	err     error       // why it could not be loaded in the last attempt

	table atomic.Pointer[table] // its hint, for those who look for a key
}

// maxPiecesAtOnce is the largest number of pieces of a hint that a worker takes at a time.
const maxPiecesAtOnce = 4

// open opens or rebuilds the hint of a source. The caller holds the lock; open releases it
// while it works.
func (l *Loading) open(from *source) {
	mayWrite := l.complete
	l.opening++
	from.err = nil
	l.mu.Unlock()
	hint, rebuilt, err := from.openHint(mayWrite)
	l.mu.Lock()
	l.opening--
	switch {
	case err == nil:
		from.hint, from.rebuilt, from.next, from.failed = hint, rebuilt, 0, false
		l.ready = append(l.ready, from)
	case mayWrite:
		from.err = err
		l.failed = append(l.failed, from)
	default:
		l.putOff(from)
	}
	l.changed.Broadcast()
}

// openHint opens the hint of a source, or rebuilds it if the hint cannot be used and something may
// be written.
func (from *source) openHint(mayWrite bool) (hint *hints.Hint, rebuilt bool, err error) {
	f := from.file
	if !from.failed {
		if hint, err = from.openTable(); err == nil {
			return hint, false, nil
		}
		if errno.Scarce(err) {
			return nil, false, err // this says nothing about the hint
		}
	}
	if !mayWrite {
		return nil, false, err
	}
	hint, err = from.of.Hints.RebuildTo(f, stoppable{f.Handle(), from.of.halt}, from.end, from.sealed, nil)
	switch {
	case hint != nil:
		return hint, true, nil // if it could not be written, the store has failed, and reads go on
	case errors.Is(err, failure.ErrClosed):
		return nil, true, err
	}
	return nil, true, failure.Unusable(segment.FileName(f.ID), err)
}

// openTable opens the hint of a source.
func (from *source) openTable() (*hints.Hint, error) {
	return from.of.Hints.OpenTo(from.file, from.end, !from.sealed, nil)
}

// stoppable reads until stop is closed.
type stoppable struct {
	io.ReaderAt
	stop <-chan struct{}
}

// ReadAt is that of io.ReaderAt.
func (s stoppable) ReadAt(p []byte, at int64) (int, error) {
	if isClosed(s.stop) {
		return 0, failure.ErrClosed
	}
	return s.ReaderAt.ReadAt(p, at)
}

// putOff queues a source whose hint is to be rebuilt, for when that is allowed.
func (l *Loading) putOff(from *source) {
	if l.complete {
		l.waiting = append(l.waiting, from)
	} else {
		l.unusable = append(l.unusable, from)
	}
}

// readPieces collects the records in some pieces of a source's hint. If a part of one is damaged,
// the hint is rebuilt from the records, and all of it is loaded again. The caller
// holds the lock; readPieces releases it while it works.
func (l *Loading) readPieces(from *source, c *collector) {
	hint := from.hint
	first, next := from.next, min(from.next+maxPiecesAtOnce, hint.Pieces())
	if l.OneWorker {
		next = min(first+1, next)
	}
	if from.next = next; next == hint.Pieces() {
		l.drop(from)
	}
	from.busy++
	c.hold(from)
	l.mu.Unlock()
	var err error
	for i := first; i < next && err == nil; i++ {
		err = c.collect(from.file, hint, i)
	}
	l.mu.Lock()
	from.busy--
	if err != nil {
		from.failed = true
		l.drop(from)
	}
	switch {
	case from.busy > 0:
	case from.failed:
		from.close()
		l.giveUpTable(from)
		from.file.Expired.Store(0) // its records will be counted again
		l.putOff(from)
		l.changed.Broadcast()
	case from.next == hint.Pieces():
		l.readAllOf(from)
	}
}

// readAllOf notes that all pieces of a source's hint were read. The caller holds the lock.
func (l *Loading) readAllOf(from *source) {
	from.read = true
	if l.isRepeated(from) {
		from.close()
		return
	}
	if from.recovered && !l.remade[from.file] || !from.recovered && from.hint.Covers == from.end {
		from.file.HintDue.Add(from.hint.Size()) // otherwise the writers have added it, or the whole hint has it
	}
	l.found.Damages = append(l.found.Damages, l.unreadable(from.file, from.hint.Damages())...)
	if from.rebuilt {
		l.found.Rebuilt++
	}
	from.close()
}

// drop takes a source off the list of those with pieces to read.
func (l *Loading) drop(from *source) {
	if i := slices.Index(l.ready, from); i >= 0 {
		l.ready = slices.Delete(l.ready, i, i+1)
	}
}

// close closes the source's hint, if it is open.
func (from *source) close() {
	if from.hint != nil {
		from.hint.Close()
		from.hint = nil
	}
}

// MaxRanges is the number of unreadable ranges of one file that Open reports one by one.
const MaxRanges = 1000

// unreadable marks a file that has ranges which cannot be read as damaged, and returns the damage
// to report.
func (l *Loading) unreadable(f *catalog.File, ranges []segment.Damage) (list []failure.Damage) {
	if len(ranges) > 0 {
		f.Damaged.Store(true)
		l.Catalog.Hides.Store(true)
		l.noteDamage(f, ranges[0])
	}
	for i, d := range ranges {
		one := failure.Damage{File: segment.FileName(f.ID), Offset: d.Offset, Reason: fmt.Sprintf("%d bytes cannot be read", d.Length)}
		if more := len(ranges) - i; i == MaxRanges && more > 1 {
			last := ranges[len(ranges)-1]
			one.Reason = fmt.Sprintf("%d more ranges, up to %d, cannot be read", more, last.Offset+last.Length)
			return append(list, one)
		}
		list = append(list, one)
	}
	return list
}
