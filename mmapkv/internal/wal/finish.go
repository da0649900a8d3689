package wal

import (
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// Close ends the log. As the last leader it calls before, and then makes everything durable.
// Later writes fail with ErrClosed. The error is that of the sync, or of an earlier failure.
func (l *Log) Close(before func()) (err error) {
	l.AsLeader(func() {
		l.shut = true
		before()
		err = l.finish()
	})
	return err
}

// Drop forgets the files of a log that is closed, or that never started. It returns the spare,
// which is in no list; nil if there is none.
func (l *Log) Drop() (spare *catalog.File) {
	// Nobody leads any more, nor prepares a file: Close has waited for all who do, and has led last.
	// If Open failed, nobody ever did. Only a step of a test may still hold Maintenance.
	l.Tail.File = nil
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	spare = l.spare
	l.Prepared, l.spare = nil, nil
	return spare
}

// finish makes everything durable, and marks the manifest clean so that the next Open scans
// nothing. The last leader calls it.
func (l *Log) finish() error {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	if err := l.catalog.Latch.Err(); err != nil {
		return err
	}
	if err := l.catalog.Syncer.SyncTo(l.Written.Load()); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	if l.Tail.markedClean && l.Prepared == nil && l.spare == nil {
		return nil // nothing was written
	}
	l.dropSpareLocked()
	prepared := l.Prepared
	l.Prepared = nil
	l.endUnused()
	for {
		sealed, err := l.sealOldestLocked(0, true)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	if err := l.finishTail(); err != nil {
		return err
	}
	for f := l.unhinted(); f != nil; f = l.unhinted() {
		if err := l.writeHint(f, &l.sealing); err != nil {
			return err
		}
	}
	err := l.catalog.Edit(true, func(m *segment.Manifest) error {
		if prepared != nil {
			m.Delist(prepared.ID)
		}
		m.Clean = true
		if n := len(m.Segments); n > 0 && !m.Segments[n-1].Sealed {
			m.Segments[n-1].End = l.Tail.End
		}
		return nil
	})
	if err == nil && prepared != nil {
		l.catalog.Remove(segment.FileName(prepared.ID))
	}
	return err
}

// finishTail trims the tail and writes its hint. If a power loss restores the old length, the
// next Open leaves the file alone and continues in another.
func (l *Log) finishTail() error {
	f := l.Tail.File
	if f == nil {
		return nil
	}
	if err := f.Active.Trim(); err != nil {
		return l.catalog.Latch.WriteError(err)
	}
	return l.hints.Write(f, l.Tail.End, l.sealing.Pause)
}
