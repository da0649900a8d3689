package load

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// source is a file whose records go into the index. Loading.mu guards it, except while a worker
// opens its hint.
type source struct {
	file      *catalog.File
	hint      *hints.Hint          // nil: not open
	scanned   *segment.HintBuilder // instead of a hint
	recovered bool                 // recovery has found it: other sources have the rest of the file
	rebuilt   bool                 // the hint was rebuilt
	next      int                  // the first piece that no worker has taken
	busy      int                  // workers that read a piece
	failed    bool                 // a piece could not be read, or a part of it is damaged

	// What the hint says of the file, once all of it was read.
	due     int64            // what its entries take, for File.HintDue
	damages []failure.Damage // what of the file cannot be read
}

// maxPiecesAtOnce is the largest number of pieces of a hint that a worker takes at a time.
const maxPiecesAtOnce = 4

// open opens or rebuilds the hint of a source. The caller holds the lock; open releases it
// while it works.
func (l *Loading) open(from *source) {
	mayWrite := l.complete
	l.opening++
	l.mu.Unlock()
	hint, rebuilt, err := from.openHint(&l.Options, mayWrite)
	l.mu.Lock()
	l.opening--
	switch {
	case err == nil:
		from.hint, from.rebuilt, from.next, from.failed = hint, rebuilt, 0, false
		l.ready = append(l.ready, from)
	case mayWrite:
		l.err = errors.Join(l.err, err)
	default:
		l.putOff(from)
	}
	l.changed.Broadcast()
}

// openHint opens the hint of a source, or rebuilds it if the hint cannot be used and something may
// be written.
func (from *source) openHint(o *Options, mayWrite bool) (hint *hints.Hint, rebuilt bool, err error) {
	f := from.file
	if !from.failed {
		if hint, err = o.Hints.Open(f, nil); err == nil {
			return hint, false, nil
		}
		if errno.Scarce(err) {
			return nil, false, err // this says nothing about the hint
		}
	}
	if !mayWrite {
		return nil, false, err
	}
	hint, err = o.Hints.Rebuild(f, nil)
	if err != nil && !errors.Is(err, failure.ErrFailed) { // ErrFailed comes from writing, not from the file
		err = failure.Unusable(segment.FileName(f.ID), err)
	}
	return hint, true, err
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
	hint, pieces := from.hint, from.pieces()
	first, next := from.next, min(from.next+maxPiecesAtOnce, pieces)
	if from.next = next; next == pieces {
		l.drop(from)
	}
	from.busy++
	l.mu.Unlock()
	var err error
	due := int64(0)
	for i := first; i < next && err == nil; i++ {
		var more int64
		more, err = c.collectFrom(from, i)
		due += more
	}
	l.mu.Lock()
	from.busy--
	from.due += due
	if err != nil {
		from.failed = true
		l.drop(from)
	}
	switch {
	case from.busy > 0:
	case from.failed:
		from.close()
		if l.giveUp(from) {
			from.file.Expired.Store(0) // its records will be counted again
			l.putOff(from)
		}
		l.changed.Broadcast()
	case hint != nil && from.next == pieces:
		from.due, from.damages = hint.Size(), l.unreadable(from.file, hint.Damages())
		from.close()
	}
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
