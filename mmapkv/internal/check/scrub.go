package check

import (
	"errors"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// Scrubber reads sealed segments, one after the other and again and again, so that
// damage is found while there is still something to restore from. One goroutine at a
// time calls Step or Run; any may call Stats.
type Scrubber struct {
	source ScrubSource

	// Only Step uses these: sequence numbers at the end of the last file that was read,
	// and at the end of the youngest sealed file when the pass began.
	after, upTo uint64

	mu      rank.Mutex[rank.Scrubs] // guards what follows; a leaf
	stats   ScrubStats
	damages int   // found in this pass
	bytes   int64 // read in this pass
}

// ScrubSource is what a Scrubber needs of its store.
type ScrubSource struct {
	// SealedSeq returns the number that the log had reached at the end of the youngest
	// sealed file.
	SealedSeq func() uint64
	// Next returns the oldest sealed file that ends after one number, if the file before
	// it ends before the other, and where that one ends. It returns nil if there is no
	// such file.
	Next func(after, upTo uint64) (f *SealedFile, before uint64)
	// NewPacer makes the pacer for one file. The caller calls done.
	NewPacer func() (p *pace.Pacer, done func())
}

// SealedFile is a sealed file that the Scrubber may use until it calls Release.
type SealedFile struct {
	// File is open, Info says what the manifest knows of it, and its records begin at
	// DataStart.
	File      vfs.File
	Info      segment.SegmentInfo
	DataStart int64
	// Release ends the use of the file.
	Release func()
	// Replaced says that a compaction has replaced the file. It has checked all records
	// itself, so damage is no longer reported.
	Replaced func() bool
	// Damaged is told of damage. unreadable says that no record can be read there.
	Damaged func(d Damage, unreadable bool)
}

// ScrubStats is what a Scrubber has done. The fields are those of mmapkv.ScrubStats.
type ScrubStats struct {
	// Bytes were read. Passes over all sealed segments were completed.
	Bytes  int64
	Passes int
	// Damages counts those of the last pass, or of the current one if that has more.
	Damages int
}

// NewScrubber makes a Scrubber. It reads nothing before Step or Run is called.
func NewScrubber(source ScrubSource) *Scrubber { return &Scrubber{source: source} }

// Stats returns what the Scrubber has done.
func (s *Scrubber) Stats() ScrubStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Damages = max(stats.Damages, s.damages)
	return stats
}

// scrubPause is how many seconds Run waits between two passes, so that it does not read a
// small store all the time.
const scrubPause = 10

// Run takes steps until stop is closed. every calls its argument once a second until end
// is called. failed is told of errors, after which Run goes on with the next segment.
func (s *Scrubber) Run(stop <-chan struct{}, every func(func()) (end func()), failed func(error)) {
	var pause atomic.Int64 // the seconds that are left of it
	due := make(chan struct{}, 1)
	wake := func() {
		select {
		case due <- struct{}{}:
		default:
		}
	}
	defer every(func() {
		if pause.Add(-1) == 0 {
			wake()
		}
	})()
	wake()
	for {
		select {
		case <-stop:
			return
		case <-due:
		}
		did, err := s.Step()
		if err != nil && !errors.Is(err, failure.ErrClosed) {
			failed(err)
		}
		if did {
			wake()
		} else {
			pause.Store(scrubPause)
		}
	}
}

// Step reads one sealed segment. did is false when a pass ends.
func (s *Scrubber) Step() (did bool, err error) {
	if s.after == 0 {
		s.upTo = s.source.SealedSeq()
	}
	f, before := s.source.Next(s.after, s.upTo)
	if f == nil {
		s.endPass()
		return false, nil
	}
	defer f.Release()
	s.after = f.Info.End.Seq
	pacer, done := s.source.NewPacer()
	defer done()
	if err := s.check(f, before, pacer); err != nil {
		return true, err
	}
	return true, pacer.KeepBudget() // the file may be too small for the check to have kept it
}

// check checks the records of a file.
func (s *Scrubber) check(f *SealedFile, before uint64, pacer *pace.Pacer) error {
	read := int64(0)
	c := recordCheck{
		reader: &patient.Reader{File: f.File, Before: pacer.Work, Reached: func(offset int64) {
			if offset > read {
				s.read(offset - read)
				read = offset
			}
		}},
		pacer: pacer, name: segment.FileName(f.Info.ID), info: f.Info, dataStart: f.DataStart, size: f.Info.End.Offset, after: before,
		found: func(d Damage) {
			if !f.Replaced() {
				s.found()
				f.Damaged(d, d.Kind == DamagedRange && d.Reason == badRecord)
			}
		},
	}
	return c.run()
}

func (s *Scrubber) read(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Bytes += bytes
	s.bytes += bytes
}

func (s *Scrubber) found() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damages++
}

// endPass makes the next step begin a pass.
func (s *Scrubber) endPass() {
	s.after = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes > 0 {
		s.stats.Passes++
		s.stats.Damages = s.damages
	}
	s.bytes, s.damages = 0, 0
}
