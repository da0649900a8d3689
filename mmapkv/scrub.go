package mmapkv

import (
	"context"
	"log/slog"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// ScrubStats is what the scrub of Options.ScrubBytesPerSecond has done.
type ScrubStats struct {
	// Bytes counts the bytes that it has read since Open. Passes counts how often it has read all
	// sealed segments.
	Bytes  int64
	Passes int
	// Damages counts the damages that the last pass has found, or the current one if that has
	// found more.
	Damages int
}

// newScrubber makes what checks the store's sealed files in the background.
func newScrubber(s *Store) *check.Scrubber {
	return check.NewScrubber(check.ScrubSource{
		SealedSeq: func() uint64 {
			s.catalog.Files.Mu.Lock()
			defer s.catalog.Files.Mu.Unlock()
			return s.catalog.Files.SealedSeqLocked()
		},
		Next: func(after, upTo uint64) (*check.SealedFile, uint64) { return nextToScrub(s, after, upTo) },
		NewPacer: func() (*pace.Pacer, func()) {
			return s.newQuietPacer(context.Background(), s.options.ScrubBytesPerSecond)
		},
	})
}

// scrub is the goroutine that scrubs. Close stops it by closing s.stop.
func (s *Store) scrub() {
	s.scrubber.Run(s.stop, s.options.every, func(err error) {
		s.events.message(slog.LevelWarn, "mmapkv: a segment could not be read by the scrub; it continues with the next", "error", err)
	})
}

// nextToScrub is ScrubSource.Next.
func nextToScrub(s *Store, after, upTo uint64) (next *check.SealedFile, before uint64) {
	s.catalog.Files.Mu.Lock()
	defer s.catalog.Files.Mu.Unlock()
	for _, f := range s.catalog.Files.Order {
		if f.Active == nil && f.End.Seq > after && before < upTo {
			f.Acquire() // never refused, since a listed file is not retired
			return toScrub(s, f), before
		}
		before = f.End.Seq
	}
	return nil, 0
}

// toScrub hands a sealed file to the scrubber. If no record can be read in some range of it, a
// compaction of the file would fail, so compactions leave it out. They do not leave it out for a
// damaged value, which they may no longer need, nor for what the disk refuses to read, since it
// may read that tomorrow.
func toScrub(s *Store, f *catalog.File) *check.SealedFile {
	return &check.SealedFile{
		File:      f.Handle(),
		Info:      f.Info(true),
		DataStart: f.DataStart,
		Release:   func() { f.Release() },
		Replaced:  f.Dropped.Load,
		Damaged: func(d check.Damage, unreadable bool) {
			if unreadable {
				f.Unreadable.Store(true)
			}
			s.events.corruption(&CorruptError{File: d.File, Offset: d.Offset, Reason: d.Reason})
		},
	}
}
