package wal

import (
	"context"
	"errors"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
)

// SealTail ends the tail if that is worth it, which the leader asks, and seals what
// has ended. The log goes on in another file meanwhile: a writer that had to make one
// would wait for the sync and the hint of this one. It goes again if nobody has come.
func (l *Log) SealTail(ctx context.Context, worthIt func() bool) error {
	var ends bool
	l.AsLeader(func() { ends = worthIt() })
	if err := l.SealEnded(ctx); err != nil || !ends {
		return err
	}
	if _, err := l.Prepare(); errors.Is(err, failure.ErrFailed) {
		return err // otherwise the next writer has to
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

// TailHasGarbage says whether a record of the tail is not needed. It is called by
// the leader.
func (l *Log) TailHasGarbage() bool {
	f := l.Tail.File
	return f != nil && l.Tail.End.Offset > f.DataStart && f.RecordBytes() > f.LiveBytes.Load()
}

// EndGarbage ends the tail, and starts the next file if there is one. It is called
// by the leader.
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

// endUnused ends the tail if nothing was written to it, so that it goes. It is
// called by the leader.
func (l *Log) endUnused() {
	if t := &l.Tail; t.File != nil && t.End.Offset == t.File.DataStart {
		l.EndTail()
	}
}

// SealEnded seals the files that get no more records. It does not hurry: whoever
// wants a compaction waits for one that steps aside.
func (l *Log) SealEnded(ctx context.Context) error {
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

// EndExpired ends the tail and seals it, if most of it has expired: only then can
// compaction give its room back.
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

// tailHasExpired says whether at least half of the tail has expired, and as much as is
// worth a file. It is called by the leader.
func (l *Log) tailHasExpired() bool {
	f := l.Tail.File
	if f == nil {
		return false
	}
	records := f.RecordBytes()
	expired := min(f.Expired.Load(), records-f.LiveBytes.Load())
	return expired >= records-expired && expired > l.catalog.SegmentSize/space.Negligible
}
