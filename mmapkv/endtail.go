package mmapkv

import (
	"context"
	"errors"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
)

// sealTail ends the tail if that is worth it, which the leader asks, and seals what
// has ended. The log goes on in another file meanwhile: a writer that had to make one
// would wait for the sync and the hint of this one. It goes again if nobody has come.
func (l *log) sealTail(ctx context.Context, worthIt func() bool) error {
	var ends bool
	l.asLeader(func() { ends = worthIt() })
	if err := l.sealEnded(ctx); err != nil || !ends {
		return err
	}
	if _, err := l.prepare(); errors.Is(err, failure.ErrFailed) {
		return err // otherwise the next writer has to
	}
	var err error
	l.asLeader(func() {
		if err = ctx.Err(); err == nil && worthIt() {
			err = l.endGarbage()
		}
	})
	if err = errors.Join(err, l.sealEnded(ctx)); err != nil {
		return err
	}
	l.asLeader(l.endUnused)
	return l.sealEnded(ctx)
}

// tailHasGarbage says whether a record of the tail is not needed. It is called by
// the leader.
func (l *log) tailHasGarbage() bool {
	f := l.tail.file
	return f != nil && l.tail.end.Offset > f.DataStart && f.RecordBytes() > f.LiveBytes.Load()
}

// endGarbage ends the tail, and starts the next file if there is one. It is called
// by the leader.
func (l *log) endGarbage() error {
	if err := l.beforeWrite(true); err != nil {
		return err
	}
	l.lockInHurry()
	defer l.unlockInHurry()
	if l.prepared == nil {
		l.endTail()
		return nil
	}
	l.startPreparedLocked()
	return nil
}

// endUnused ends the tail if nothing was written to it, so that it goes. It is
// called by the leader.
func (l *log) endUnused() {
	if t := &l.tail; t.file != nil && t.end.Offset == t.file.DataStart {
		l.endTail()
	}
}

// sealEnded seals the files that get no more records. It does not hurry: whoever
// wants a compaction waits for one that steps aside.
func (l *log) sealEnded(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		did, err := l.stepSeal()
		if !did || err != nil {
			return err
		}
	}
}

// endExpiredTail ends the tail and seals it, if most of it has expired: only then can
// compaction give its room back.
func (l *log) endExpiredTail() error {
	if !l.Compacts || l.catalog.Latch.Err() != nil {
		return nil
	}
	var due bool
	l.asLeader(func() { due = l.tailHasExpired() })
	if !due {
		return nil
	}
	return l.sealTail(context.Background(), l.tailHasExpired)
}

// tailHasExpired says whether at least half of the tail has expired, and as much as is
// worth a file. It is called by the leader.
func (l *log) tailHasExpired() bool {
	f := l.tail.file
	if f == nil {
		return false
	}
	records := f.RecordBytes()
	expired := min(f.Expired.Load(), records-f.LiveBytes.Load())
	return expired >= records-expired && expired > l.catalog.SegmentSize/space.Negligible
}
