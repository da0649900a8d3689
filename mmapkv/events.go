package mmapkv

import "time"

// Events are callbacks for what an operator wants to know. A nil one is not called.
//
// The store calls them one at a time, in the order of what happened, from a goroutine of their
// own, and under no lock. So they may call any method of the store, Close too. A slow callback
// delays only later ones. While it runs, at most 1024 events wait; after that the oldest one is
// dropped and counted in Stats.EventsDropped. Events can arrive before Open has returned and
// after Close has. The store does not recover from a panic in a callback.
//
// Options.Logger gets the same events as messages, and other messages too, in the same order and
// from the same goroutine. Its handler may call the store too.
type Events struct {
	// CompactionStarted is called when a compaction begins. CompactionEnded follows.
	CompactionStarted func(CompactionStarted)
	// CompactionEnded is called when a compaction is over, done or failed.
	CompactionEnded func(CompactionEnded)
	// Rotated is called when the log continues in a new file.
	Rotated func(Rotated)
	// Recovered is called once, when Open has recovered the store.
	Recovered func(RecoveryStats)
	// Loaded is called once, when the index is full: see Store.Ready.
	Loaded func(Loaded)
	// SlowOperation is called when an operation took SlowThreshold or longer. Without this
	// callback the store does not time operations, and logs no slow one. How long Range, Keys,
	// Scan and iterators take is up to their user, so they are not timed.
	SlowOperation func(SlowOperation)
	// SlowThreshold is the duration from which an operation is slow; 0 means 100ms.
	SlowThreshold time.Duration
	// CorruptionFound is called when damage is found, once for each file and offset, as long as
	// that place is among the last 1024 reported.
	CorruptionFound func(CorruptError)
	// WriteStalled is called after writers had to wait for compaction to make room, or for syncs
	// to catch up, once for each wait.
	WriteStalled func(WriteStalled)
	// SnapshotOld is called when a Snapshot has been open for SnapshotAge or longer, once for each,
	// and when one is ended because of Options.SnapshotLimit.
	SnapshotOld func(SnapshotOld)
	// SnapshotAge is the age from which a Snapshot is old; 0 means ten minutes.
	SnapshotAge time.Duration
	// SpaceLow is called when the disk is full. It is not called again until there has been
	// space.
	SpaceLow func(SpaceLow)
}

// Loaded says what loading found.
type Loaded struct {
	Keys         int            // in the index
	HintsRebuilt int            // hints that were missing or damaged
	Damages      []CorruptError // what was known to be on disk and cannot be read
	Duration     time.Duration  // from when Open began to load
}

// CompactionStarted is what a compaction is about to rewrite.
type CompactionStarted struct {
	Files   []string // names in the store's directory, oldest first
	BytesIn int64    // size of these files in bytes, without hints
}

// CompactionEnded is what a compaction did.
type CompactionEnded struct {
	Files             []string      // names in the store's directory, oldest first
	BytesIn, BytesOut int64         // bytes read and written, without hints
	Duration          time.Duration // from start to end, including pauses
	Err               error         // why it failed; nil if it did not
}

// Rotated says where the log continues.
type Rotated struct {
	File string // name of the new file in the store's directory
}

// SlowOperation is a call that was slow.
type SlowOperation struct {
	Operation string        // name of the Store's method, such as "Get", or "Snapshot.Get"
	Duration  time.Duration // from call to return, including a read's callback
}

// WriteStalled is a wait of writers.
type WriteStalled struct {
	Duration time.Duration // of this one wait
}

// SnapshotOld is a Snapshot that has been open for long, or for too long.
type SnapshotOld struct {
	SnapshotStats
	Ended bool // because of Options.SnapshotLimit
}

// SpaceLow says how the store noticed that the disk is full.
type SpaceLow struct {
	Err error // wraps syscall.ENOSPC
}
