package mmapkv

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// ScrubStats is what the scrub that Options.ScrubBytesPerSecond asks for has done.
type ScrubStats struct {
	// Bytes is how many it has read since Open, Passes how often it was through with
	// all sealed segments.
	Bytes  int64
	Passes int
	// Damages is how many damages the last pass has found, or the one that goes on if
	// those are more.
	Damages int
}

// scrubs collects ScrubStats.
type scrubs struct {
	// Only the scrub uses these: sequence numbers at the end of the last file read, and
	// at that of the youngest sealed file when the pass began.
	after, upTo uint64

	mu      rank.Mutex[rank.Scrubs] // guards what follows; a leaf
	stats   ScrubStats
	damages int   // found in this pass
	bytes   int64 // read in this pass
}

func (s *scrubs) get() ScrubStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Damages = max(stats.Damages, s.damages)
	return stats
}

func (s *scrubs) read(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Bytes += bytes
	s.bytes += bytes
}

func (s *scrubs) found() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damages++
}

// endPass begins the next pass.
func (s *scrubs) endPass() {
	s.after = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes > 0 {
		s.stats.Passes++
		s.stats.Damages = s.damages
	}
	s.bytes, s.damages = 0, 0
}

// scrubPause is how many seconds the scrub waits from one pass to the next, so that a
// small store is not read all the time.
const scrubPause = 10

// scrub is the goroutine that reads sealed segments, one after the other and for
// ever, so that damage is found while there is still something to restore from.
// Open starts it, Close stops it by closing s.stop.
func (s *Store) scrub() {
	var pause atomic.Int64 // seconds that are left of it
	due := make(chan struct{}, 1)
	defer s.options.every(func() {
		if pause.Add(-1) == 0 {
			wake(due)
		}
	})()
	wake(due)
	for {
		select {
		case <-s.stop:
			return
		case <-due:
		}
		did, err := s.stepScrub()
		if err != nil && !errors.Is(err, ErrClosed) {
			s.events.message(slog.LevelWarn, "mmapkv: a segment could not be read by the scrub; it goes on with the next", "error", err)
		}
		if did {
			wake(due)
		} else {
			pause.Store(scrubPause)
		}
	}
}

// stepScrub reads one sealed segment; did is false when a pass ends.
func (s *Store) stepScrub() (did bool, err error) {
	f, before := s.nextToScrub()
	if f == nil {
		s.scrubs.endPass()
		return false, nil
	}
	defer f.Release()
	s.scrubs.after = f.End.Seq
	pacer, done := s.newQuietPacer(context.Background(), s.options.ScrubBytesPerSecond)
	defer done()
	if err := s.scrubFile(f, before, pacer); err != nil {
		return true, err
	}
	return true, pacer.KeepBudget() // also for a file too small to have asked for it
}

// nextToScrub is the sealed file behind the last one that was read, and the number
// that the log had reached before it; nil behind the last one that was there when the
// pass began. The caller uses the file, and releases it.
func (s *Store) nextToScrub() (f *catalog.File, before uint64) {
	s.catalog.Files.Mu.Lock()
	defer s.catalog.Files.Mu.Unlock()
	if s.scrubs.after == 0 {
		s.scrubs.upTo = s.catalog.Files.SealedSeqLocked()
	}
	for _, f := range s.catalog.Files.Order {
		if f.Active == nil && f.End.Seq > s.scrubs.after && before < s.scrubs.upTo {
			f.Acquire() // which is not refused: a listed file is not retired
			return f, before
		}
		before = f.End.Seq
	}
	return nil, 0
}

// scrubFile checks the records of a sealed file. What a compaction has replaced
// meanwhile it has checked as well, so that nothing is told of it.
func (s *Store) scrubFile(f *catalog.File, before uint64, pacer *pace.Pacer) error {
	cold := vfs.Resident(f.Handle(), f.End.Offset) < coldPart
	read := int64(0)
	c := recordCheck{
		reader: &patient.Reader{File: f.Handle(), Before: pacer.Work, Reached: func(offset int64) {
			if offset > read {
				s.scrubs.read(offset - read)
				read = offset
			}
		}},
		pacer: pacer, name: segment.FileName(f.ID), dataStart: f.DataStart, size: f.End.Offset, after: before,
		info: segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.End},
		found: func(d Damage) {
			if !f.Dropped.Load() {
				s.scrubFound(f, d)
			}
		},
	}
	err := c.run()
	if cold {
		vfs.Evict(f.Handle())
	}
	return err
}

// scrubFound tells of damage. Where no record can be read, a compaction would fail,
// so the file is kept out of them, as if one had met it. A damaged value hinders
// none, if it is no longer needed by then; and what the disk refuses today it may
// read tomorrow.
func (s *Store) scrubFound(f *catalog.File, d Damage) {
	s.scrubs.found()
	if d.Kind == DamagedRange && d.Reason == badRecord {
		f.Unreadable.Store(true)
	}
	s.events.corruption(&CorruptError{File: d.File, Offset: d.Offset, Reason: d.Reason})
}
