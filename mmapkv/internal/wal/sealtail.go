package wal

import (
	"context"
	"errors"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
)

// SealTail ends the tail if worthIt says so, and seals all files that have ended. The leader
// calls worthIt. SealTail first prepares the file in which the log continues. Otherwise a writer
// would have to create it, and wait for the old file's sync and hint. If nobody writes to the new
// file, it is removed again. An error of the context means that nothing is lost.
func (l *Log) SealTail(ctx context.Context, worthIt func() bool) error {
	var ends bool
	l.AsLeader(func() { ends = worthIt() })
	if err := l.SealEnded(ctx); err != nil || !ends {
		return err
	}
	// Any other error is left to the next writer, which has to create the file.
	if _, err := l.Prepare(); errors.Is(err, failure.ErrFailed) {
		return err
	}
	var err error
	l.AsLeader(func() {
		if err = ctx.Err(); err == nil && worthIt() {
			err = l.EndGarbage()
		}
	})
	if err = errors.Join(err, l.SealEnded(ctx)); err != nil {
		return err
	}
	l.AsLeader(l.endUnused)
	return l.SealEnded(ctx)
}

// TailHasGarbage reports whether any record of the tail is dead. The leader calls it.
func (l *Log) TailHasGarbage() bool {
	f := l.Tail.File
	return f != nil && l.Tail.End.Offset > f.DataStart && f.RecordBytes() > f.LiveBytes.Load()
}

// EndGarbage ends the tail, and makes the prepared file, if there is one, the new tail. The
// leader calls it; it is exported for tests.
func (l *Log) EndGarbage() error {
	if err := l.BeforeWrite(true); err != nil {
		return err
	}
	l.lockInHurry()
	defer l.unlockInHurry()
	if l.Prepared == nil {
		l.EndTail()
		return nil
	}
	l.startPreparedLocked()
	return nil
}

// endUnused ends the tail if nothing was written to it, so that its file is removed. The leader
// calls it.
func (l *Log) endUnused() {
	if t := &l.Tail; t.File != nil && t.End.Offset == t.File.DataStart {
		l.EndTail()
	}
}

// SealEnded seals all files that have ended. It gives way to reads and writes, since nobody in a
// hurry waits for it. It is exported for tests.
func (l *Log) SealEnded(ctx context.Context) error {
	defer l.restSealing() // Maintain may have nothing to do any more, and does not do it then
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		did, err := l.StepSeal()
		if !did || err != nil {
			return err
		}
	}
}

// EndExpired ends and seals the tail if most of it has expired, because compaction reclaims only
// sealed files. The sweep calls it.
func (l *Log) EndExpired() error {
	if !l.Compacts || l.catalog.Latch.Err() != nil {
		return nil
	}
	var due bool
	l.AsLeader(func() { due = l.tailHasExpired() })
	if !due {
		return nil
	}
	return l.SealTail(context.Background(), l.tailHasExpired)
}

// tailHasExpired reports whether at least half of the tail has expired, and enough of it to be
// worth a file. The leader calls it.
func (l *Log) tailHasExpired() bool {
	f := l.Tail.File
	if f == nil {
		return false
	}
	records := f.RecordBytes()
	expired := min(f.Expired.Load(), records-f.LiveBytes.Load())
	return expired >= records-expired && expired > l.catalog.SegmentSize/space.Negligible
}
