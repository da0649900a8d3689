package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/segment"
)

// Stats is what a store tells of itself. Sizes are in bytes.
type Stats struct {
	// Keys is the number of keys, as Len.
	Keys int
	// LiveBytes is what the records take that reads can find, DeadBytes what
	// overwritten, deleted and expired ones and tombstones take.
	LiveBytes, DeadBytes int64
	// DiskBytes is what the segments take on disk, with the room that is
	// reserved ahead of the log.
	DiskBytes int64
	// IndexBytes is the memory of the index.
	IndexBytes int64
	// Segments lists the files of the log, oldest first.
	Segments []SegmentStats
	// Recovery is what the Open that made this Store found.
	Recovery RecoveryStats
	// WriteStall is how long writers have waited because syncs fell behind.
	WriteStall time.Duration
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
	l := s.live.Load()
	if l == nil {
		return Stats{}
	}
	stats := Stats{
		Keys:       l.keys.Len(),
		IndexBytes: l.keys.Bytes(),
		Recovery:   s.recovery,
		WriteStall: time.Duration(s.stalled.Load()),
		Err:        s.failed(),
	}
	stats.LastSync, stats.LastSyncTook = s.syncer.LastSync()
	for _, f := range l.order {
		one := s.segmentStats(f)
		stats.Segments = append(stats.Segments, one)
		stats.LiveBytes += one.LiveBytes
		stats.DeadBytes += one.DeadBytes
		stats.DiskBytes += one.DiskBytes
	}
	return stats
}

func (s *Store) segmentStats(f *file) SegmentStats {
	s.files.mu.Lock()
	active := f.active
	s.files.mu.Unlock()
	live := f.liveBytes.Load()
	disk := f.Limit()
	if active != nil {
		disk = max(disk, active.Allocated())
	}
	return SegmentStats{
		File:      segment.FileName(f.ID),
		LiveBytes: live,
		DeadBytes: max(f.recordBytes()-live, 0),
		DiskBytes: disk,
		Sealed:    active == nil,
		Mapped:    f.Memory() != nil,
	}
}
