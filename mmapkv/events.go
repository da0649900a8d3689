package mmapkv

import (
	"time"
)

// Events are callbacks for what an operator wants to know; a nil one is not
// called.
//
// They are called in the order of what happened, one at a time, from a goroutine
// of their own and under no lock of the store: they may call any method of it,
// Close too. A slow callback delays the later ones and nothing else. While it
// runs at most 1024 events wait; after that the oldest one is dropped and counted
// in Stats.EventsDropped. Events can arrive before Open has returned and after
// Close has. The store does not recover from a panic in a callback.
//
// Options.Logger gets the same as messages, and what else there is to log, in the
// same order and from the same goroutine. Its handler may call the store too.
type Events struct {
	// CompactionStarted: a compaction begins. CompactionEnded follows.
	CompactionStarted func(CompactionStarted)
	// CompactionEnded: a compaction is over, done or failed.
	CompactionEnded func(CompactionEnded)
	// Rotated: the log goes on in a new file.
	Rotated func(Rotated)
	// Recovered: Open has brought the store back; called once.
	Recovered func(RecoveryStats)
	// SlowOperation: an operation took SlowThreshold or longer. Without this
	// callback operations are not timed, and no slow one is logged.
	SlowOperation func(SlowOperation)
	// SlowThreshold is from where on an operation is slow; 0 means 100ms.
	SlowThreshold time.Duration
	// CorruptionFound: damage was met. It is told once for each file and offset, as
	// long as that is among the last 1024 told.
	CorruptionFound func(CorruptError)
	// WriteStalled: writers had to wait for compaction to make room, or for syncs
	// to catch up; called once for each wait, when it is over.
	WriteStalled func(WriteStalled)
	// SpaceLow: the disk is full. It is told once until there is room again.
	SpaceLow func(SpaceLow)
}

// CompactionStarted says what a compaction is about to rewrite.
type CompactionStarted struct {
	Files   []string // names in the store's directory, oldest first
	BytesIn int64    // size of these files, without hints
}

// CompactionEnded says what a compaction did.
type CompactionEnded struct {
	Files             []string      // names in the store's directory, oldest first
	BytesIn, BytesOut int64         // read and written, without hints
	Duration          time.Duration // from beginning to end, pauses included
	Err               error         // why it failed; nil when it did not
}

// Rotated says where the log goes on.
type Rotated struct {
	File string // name of the new file in the store's directory
}

// SlowOperation says which call was slow.
type SlowOperation struct {
	Operation string        // name of the Store's method, such as "Get"
	Duration  time.Duration // from call to return, a read's callback included
}

// WriteStalled says how long writers had to wait.
type WriteStalled struct {
	Duration time.Duration // of this one wait
}

// SpaceLow says how the disk turned out to be full.
type SpaceLow struct {
	Err error // wraps syscall.ENOSPC
}
