package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// Stats is the state of a store. Sizes are in bytes.
type Stats struct {
	// Loading says that the index is not full yet, see Store.Ready. Until then Keys counts what is
	// in it, tombstones too, and LiveBytes and DeadBytes are not known: all counts as dead that is
	// not yet known to be alive.
	Loading bool
	// Keys is the number of keys, as Len returns it.
	Keys int
	// LiveBytes is the size of the records that reads can find, and about the size of their
	// entries in hints. DeadBytes is the size of overwritten, deleted and expired records and
	// of tombstones. An expired record counts as live until it is swept, some seconds later.
	LiveBytes, DeadBytes int64
	// DiskBytes is the size on disk of the segments, with the space reserved ahead of the log,
	// and about the size of their hints.
	DiskBytes int64
	// HeldBytes is the size of deleted segments that reads, scans, open iterators and snapshots still
	// use.
	HeldBytes int64
	// Snapshots lists the open snapshots, oldest first.
	Snapshots []SnapshotStats
	// IndexBytes is the memory that the index takes.
	IndexBytes int64
	// AliveBytes is the memory that says which records are alive: one bit for each 24 bytes of a
	// segment of small records, and next to nothing for large ones.
	AliveBytes int64
	// Order is what the store keeps so that scans find keys in order. It is all zero in a store
	// that is never scanned.
	Order OrderStats
	// Segments lists the files of the log, oldest first.
	Segments []SegmentStats
	// Recovery is what the Open that made this Store found.
	Recovery RecoveryStats
	// WriteStall is how long writers have waited because syncs or compaction fell behind, added
	// up over all writers.
	WriteStall time.Duration
	// Compaction is what compactions have done since Open.
	Compaction CompactionStats
	// Scrub is what the scrub has done since Open.
	Scrub ScrubStats
	// EventsDropped counts events and messages that were not delivered because the callbacks of
	// Options.Events or the Logger were too slow.
	EventsDropped int64
	// LastSync is when the last background or explicit sync ended; it is zero if there was none.
	// LastSyncTook is how long that sync took.
	LastSync     time.Time
	LastSyncTook time.Duration
	// Err is why the store takes no more writes; nil if it takes them.
	Err error
}

// OrderStats is what the store keeps so that scans find keys in order. Sizes are in bytes.
type OrderStats struct {
	// Tables is the number of sealed segments whose hints are open, and Runs that of the sorted
	// lists of records of the others. Bytes is the memory that both take.
	Tables, Runs int
	Bytes        int64
	// ViewSegments is the number of segments whose keys the view has in one order, and ViewKeys the
	// number of these keys. ViewBytes is the memory that it takes. They are 0 while there is no view:
	// the background makes one once a store with several sealed segments is scanned, and drops it
	// when a compaction takes one of these segments away.
	ViewSegments, ViewKeys int
	ViewBytes              int64
	// Views is how many views have been made since Open, and ViewsTook how long that took.
	Views     int
	ViewsTook time.Duration
}

// orderStats returns OrderStats.
func orderStats(s *Store) OrderStats {
	o := s.order.Stats()
	return OrderStats{
		Tables: o.Tables, Runs: o.Runs, Bytes: o.Bytes,
		ViewSegments: o.ViewTables, ViewKeys: o.ViewKeys, ViewBytes: o.ViewBytes,
		Views: o.ViewsMade, ViewsTook: o.ViewsTook,
	}
}

// SegmentStats is one file of the log. Sizes are in bytes.
type SegmentStats struct {
	// File is its name in the store's directory.
	File string
	// LiveBytes and DeadBytes are its share of those in Stats.
	LiveBytes, DeadBytes int64
	// DiskBytes is its size on disk, with its hint and the space reserved ahead.
	DiskBytes int64
	// Sealed says that it gets no more records.
	Sealed bool
	// Mapped says that it is mapped. Otherwise it is read through the file descriptor.
	Mapped bool
	// Merged says that compaction made it.
	Merged bool
	// Damaged says that part of it cannot be read, so that compactions leave it out.
	Damaged bool
	// Cold says that not all of it is in memory. Reads of it make system calls.
	Cold bool
}

// CompactionStats is what compactions have done since Open.
type CompactionStats struct {
	// Runs counts the compactions that began, and Failed those that failed. LastError is why the
	// last of these failed.
	Runs, Failed int
	LastError    error
	// BytesIn is what they read, and BytesOut what they wrote, without hints.
	BytesIn, BytesOut int64
	// Duration is how long they took, added up.
	Duration time.Duration
}

// compactions adds up CompactionStats.
type compactions struct {
	mu    rank.Mutex[rank.Compactions] // guards stats
	stats CompactionStats
}

// add counts a compaction.
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

// get returns the sum.
func (c *compactions) get() CompactionStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// RecoveryStats is what an Open found and did.
type RecoveryStats struct {
	// Duration is how long Open took to recover the store, without loading the index.
	Duration time.Duration
	// Clean says that the store had been closed, so that nothing was scanned.
	Clean bool
	// RecordsScanned counts the records read in unsealed files. Those that partial hints know are
	// not read. RecordsRecovered counts those of them that were not known to be on disk and were
	// made durable. BytesDiscarded is the size of the torn end that was cut.
	RecordsScanned, RecordsRecovered int
	BytesDiscarded                   int64
	// HintsRebuilt counts hints that were missing or damaged. Loading finds them, and also adds to
	// Damages: both are complete once Stats.Loading is false. So are they in Events.Loaded, but not
	// in Events.Recovered.
	HintsRebuilt int
	// Damages lists what was known to be on disk and cannot be read.
	Damages []CorruptError
	// LoadingTook is how long the index took to be full, from when Open began to fill it; 0 while
	// it is not.
	LoadingTook time.Duration
}

// Stats returns the state of the store. After Close it is all zero.
func (s *Store) Stats() Stats {
	set := s.catalog.Set()
	if set == nil {
		return Stats{}
	}
	stats := Stats{
		Loading:    !s.loading.IsDone(),
		Keys:       set.Keys.Len(),
		IndexBytes: set.Keys.Bytes(),
		Recovery:   recoveryStats(s),
		WriteStall: time.Duration(s.events.stalledFor.Load()),
		Err:        s.latch.Err(),

		Order:         orderStats(s),
		HeldBytes:     s.catalog.Retired.Held(),
		Snapshots:     snapshotStats(s),
		Compaction:    s.events.compactions.get(),
		Scrub:         ScrubStats(s.scrubber.Stats()),
		EventsDropped: s.events.dropped(),
	}
	stats.LastSync, stats.LastSyncTook = s.syncer.LastSync()
	for _, f := range set.Order {
		one := segmentStats(s, f)
		stats.Segments = append(stats.Segments, one)
		stats.LiveBytes += one.LiveBytes
		stats.DeadBytes += one.DeadBytes
		stats.DiskBytes += one.DiskBytes
		stats.AliveBytes += f.Alive.Bytes()
	}
	return stats
}

// segmentStats returns the stats of one file.
func segmentStats(s *Store, f *catalog.File) SegmentStats {
	s.catalog.Files.Mu.Lock()
	active := f.Active
	s.catalog.Files.Mu.Unlock()
	// While the index is loaded, records are counted as dead before they are counted as alive.
	live, liveHints, hints := max(f.LiveBytes.Load(), 0), max(f.LiveHints.Load(), 0), f.HintBytes.Load()
	disk := f.Limit()
	if active != nil {
		disk = max(disk, active.Allocated())
	}
	return SegmentStats{
		File:      segment.FileName(f.ID),
		LiveBytes: live + liveHints,
		DeadBytes: max(f.RecordBytes()-live, 0) + max(hints-liveHints, 0),
		DiskBytes: disk + hints + f.PartialBytes.Load(),
		Sealed:    active == nil,
		Mapped:    f.Memory() != nil,
		Cold:      f.Cold.Load(),
		Merged:    f.Kind == segment.Merged,
		Damaged:   f.Damaged.Load() || f.Unreadable.Load(),
	}
}
