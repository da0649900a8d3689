package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// Stats is what a store tells of itself. Sizes are in bytes.
type Stats struct {
	// Keys is the number of keys, as Len.
	Keys int
	// LiveBytes is what the records that reads can find take, and about what their
	// entries in hints do; DeadBytes what overwritten, deleted and expired ones and tombstones
	// take. An expired record counts as live until the sweep meets it, some seconds later.
	LiveBytes, DeadBytes int64
	// DiskBytes is what the segments, and about what their hints take on disk, with
	// the room that is reserved ahead of the log.
	DiskBytes int64
	// HeldBytes is what deleted segments still take, because reads are in them.
	HeldBytes int64
	// IndexBytes is the memory of the index.
	IndexBytes int64
	// Segments lists the files of the log, oldest first.
	Segments []SegmentStats
	// Recovery is what the Open that made this Store found.
	Recovery RecoveryStats
	// WriteStall is how long writers have waited because syncs or compaction fell
	// behind, all writers together.
	WriteStall time.Duration
	// Compaction is what compactions have done since Open.
	Compaction CompactionStats
	// Scrub is what the scrub has done since Open.
	Scrub ScrubStats
	// EventsDropped is how many events and messages were not delivered, because the
	// callbacks of Options.Events or the Logger were too slow.
	EventsDropped int64
	// LastSync is when the last background or explicit sync ended, the zero
	// time when there was none, and LastSyncTook how long it took.
	LastSync     time.Time
	LastSyncTook time.Duration
	// Err is why the store takes no more writes; nil when it does.
	Err error
}

// SegmentStats is one file of the log.
type SegmentStats struct {
	File                 string
	LiveBytes, DeadBytes int64
	DiskBytes            int64
	Sealed               bool
	Mapped               bool // false: read through the file descriptor
	Merged               bool // made by compaction
	Damaged              bool // left out of compactions, because it cannot be read in part
	Cold                 bool // not all of it is in memory: reads of it make system calls
}

// CompactionStats is what compactions have done.
type CompactionStats struct {
	// Runs is how many were begun, Failed how many of them failed, LastError why the
	// last of these did.
	Runs, Failed int
	LastError    error
	// BytesIn is what they read and BytesOut what they wrote, without hints.
	BytesIn, BytesOut int64
	// Duration is how long they took together.
	Duration time.Duration
}

// compactions collects CompactionStats.
type compactions struct {
	mu    rank.Mutex[rank.Compactions] // guards stats
	stats CompactionStats
}

func (c *compactions) add(ended CompactionEnded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Runs++
	c.stats.BytesIn += ended.BytesIn
	c.stats.BytesOut += ended.BytesOut
	c.stats.Duration += ended.Duration
	if ended.Err != nil {
		c.stats.Failed++
		c.stats.LastError = ended.Err
	}
}

func (c *compactions) get() CompactionStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// RecoveryStats is what an Open found and did.
type RecoveryStats struct {
	// Duration is how long Open took to bring the store back.
	Duration time.Duration
	// Clean says that the store had been closed, so that nothing was scanned.
	Clean bool
	// RecordsScanned is the number of records read in unsealed files,
	// RecordsRecovered how many of them had not been known to be on disk and were
	// made durable, BytesDiscarded the size of the torn end that was cut.
	RecordsScanned, RecordsRecovered int
	BytesDiscarded                   int64
	// HintsRebuilt is how many hints were missing or damaged.
	HintsRebuilt int
	// Damages lists what was known to be on disk and cannot be read.
	Damages []CorruptError
}

// Stats tells how the store does. After Close it is all zero.
func (s *Store) Stats() Stats {
	l := s.catalog.Set()
	if l == nil {
		return Stats{}
	}
	stats := Stats{
		Keys:       l.Keys.Len(),
		IndexBytes: l.Keys.Bytes(),
		Recovery:   s.recovery,
		WriteStall: time.Duration(s.events.stalledFor.Load()),
		Err:        s.latch.Err(),

		HeldBytes:     s.catalog.Retired.Held(),
		Compaction:    s.events.compactions.get(),
		Scrub:         ScrubStats(s.scrubber.Stats()),
		EventsDropped: s.events.dropped(),
	}
	stats.LastSync, stats.LastSyncTook = s.syncer.LastSync()
	for _, f := range l.Order {
		one := s.segmentStats(f)
		stats.Segments = append(stats.Segments, one)
		stats.LiveBytes += one.LiveBytes
		stats.DeadBytes += one.DeadBytes
		stats.DiskBytes += one.DiskBytes
	}
	return stats
}

func (s *Store) segmentStats(f *catalog.File) SegmentStats {
	s.catalog.Files.Mu.Lock()
	active := f.Active
	s.catalog.Files.Mu.Unlock()
	live, liveHints, hints := f.LiveBytes.Load(), f.LiveHints.Load(), f.HintBytes.Load()
	disk := f.Limit()
	if active != nil {
		disk = max(disk, active.Allocated())
	}
	return SegmentStats{
		File:      segment.FileName(f.ID),
		LiveBytes: live + liveHints,
		DeadBytes: max(f.RecordBytes()-live, 0) + max(hints-liveHints, 0),
		DiskBytes: disk + hints,
		Sealed:    active == nil,
		Mapped:    f.Memory() != nil,
		Cold:      f.Cold.Load(),
		Merged:    f.Kind == segment.Merged,
		Damaged:   f.Damaged.Load() || f.Unreadable.Load(),
	}
}
