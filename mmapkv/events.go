package mmapkv

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Events are callbacks for what an operator wants to know; a nil one is not
// called. They are called one at a time, in the order of what happened, from a
// goroutine of their own that holds no lock of the store, so that they may call
// any method of it. A slow callback delays only the events behind it; when 1,024
// wait, the oldest is dropped and counted (Stats.EventsDropped). Events that are
// waiting when the store is closed are still delivered.
type Events struct {
	CompactionStarted func(CompactionStarted)
	CompactionEnded   func(CompactionEnded)
	// Rotated is called when the log goes on in another file.
	Rotated func(Rotated)
	// Recovered is called once, for the Open that made the store.
	Recovered func(RecoveryStats)
	// SlowOperation is called for an operation that took SlowThreshold or longer;
	// 0 means 100 ms. A read's time includes that of its callback.
	SlowOperation func(SlowOperation)
	SlowThreshold time.Duration
	// CorruptionFound is called once for each damaged place that a read, an Open or
	// a compaction meets.
	CorruptionFound func(CorruptError)
	// WriteStalled is called each time that a writer had to wait for compaction or
	// for syncs to catch up.
	WriteStalled func(WriteStalled)
	// SpaceLow is called when a write finds the disk full, once until a write has
	// found room again.
	SpaceLow func(SpaceLow)
}

// CompactionStarted says which files are compacted, and how many bytes they have.
type CompactionStarted struct {
	Files   []string
	BytesIn int64
}

// CompactionEnded says what has become of them: BytesIn were read and BytesOut
// written. With an Err that is not nil all is as it was before.
type CompactionEnded struct {
	Files             []string
	BytesIn, BytesOut int64
	Duration          time.Duration
	Err               error
}

// Rotated says in which file the log goes on.
type Rotated struct{ File string }

// SlowOperation says which method took how long.
type SlowOperation struct {
	Operation string
	Duration  time.Duration
}

// WriteStalled says how long a writer waited.
type WriteStalled struct{ Duration time.Duration }

// SpaceLow has the error that said so.
type SpaceLow struct{ Err error }

const (
	// maxEvents is how many events wait at most.
	maxEvents = 1024
	// maxTold bounds how many damaged places are remembered, to tell each once.
	maxTold = 1024

	defaultSlowThreshold = 100 * time.Millisecond
)

// notifier delivers events and writes the same to the log. Its goroutine is
// started by the first event and ends when none is left, so that it needs nobody
// to stop it.
type notifier struct {
	events Events
	log    *slog.Logger
	slow   time.Duration // the threshold

	mu         sync.Mutex // guards the rest; a leaf
	queue      []func()
	delivering bool
	lost       int64
	told       map[damagedPlace]bool
	full       bool // SpaceLow was told
}

type damagedPlace struct {
	file   string
	offset int64
}

func newNotifier(e Events, log *slog.Logger) *notifier {
	n := &notifier{events: e, log: log, slow: e.SlowThreshold, told: map[damagedPlace]bool{}}
	if n.slow == 0 {
		n.slow = defaultSlowThreshold
	}
	return n
}

// tell queues a message for the log, if anybody reads it, and a callback, if it
// is not nil.
func (n *notifier) tell(level slog.Level, callback func(), message string, args ...any) {
	logs := n.log.Enabled(context.Background(), level)
	if callback == nil && !logs {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) >= maxEvents {
		n.queue = n.queue[1:]
		n.lost++
	}
	n.queue = append(n.queue, func() {
		if logs {
			n.log.Log(context.Background(), level, "mmapkv: "+message, args...)
		}
		if callback != nil {
			callback()
		}
	})
	if !n.delivering {
		n.delivering = true
		go n.deliver()
	}
}

// deliver delivers until nothing waits.
func (n *notifier) deliver() {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 {
			n.queue, n.delivering = nil, false
			n.mu.Unlock()
			return
		}
		next := n.queue[0]
		n.queue = n.queue[1:]
		n.mu.Unlock()
		next()
	}
}

// call binds an event to its callback; nil when there is none.
func call[E any](callback func(E), event E) func() {
	if callback == nil {
		return nil
	}
	return func() { callback(event) }
}

func (n *notifier) compactionStarted(files []string, bytesIn int64) {
	n.tell(slog.LevelDebug, call(n.events.CompactionStarted, CompactionStarted{files, bytesIn}),
		"compaction started", "files", files, "bytes", bytesIn)
}

func (n *notifier) compactionEnded(e CompactionEnded) {
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
	}
	n.tell(level, call(n.events.CompactionEnded, e),
		"compaction ended", "files", e.Files, "in", e.BytesIn, "out", e.BytesOut, "took", e.Duration, "error", e.Err)
}

func (n *notifier) rotated(file string) {
	n.tell(slog.LevelDebug, call(n.events.Rotated, Rotated{file}), "the log goes on in another file", "file", file)
}

func (n *notifier) recovered(r RecoveryStats, keys, segments int) {
	n.tell(slog.LevelInfo, call(n.events.Recovered, r),
		"opened", "keys", keys, "segments", segments, "clean", r.Clean, "scanned", r.RecordsScanned, "recovered", r.RecordsRecovered,
		"discarded", r.BytesDiscarded, "hintsRebuilt", r.HintsRebuilt, "took", r.Duration)
}

// watchesSlow says whether operations are to be timed.
func (n *notifier) watchesSlow() bool { return n.events.SlowOperation != nil }

// slowOperation tells of an operation that began then, if it was slow.
func (n *notifier) slowOperation(operation string, began time.Time) {
	took := time.Since(began)
	if took < n.slow {
		return
	}
	n.tell(slog.LevelWarn, call(n.events.SlowOperation, SlowOperation{operation, took}),
		"a slow operation", "operation", operation, "took", took)
}

// corruption tells of a damaged place, once.
func (n *notifier) corruption(e *CorruptError) {
	if !n.news(e) {
		return
	}
	n.tell(slog.LevelError, call(n.events.CorruptionFound, *e), "damage", "file", e.File, "offset", e.Offset, "reason", e.Reason)
}

// news says whether a damaged place has not been told of.
func (n *notifier) news(e *CorruptError) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := damagedPlace{e.File, e.Offset}
	if n.told[at] || len(n.told) >= maxTold {
		return false
	}
	n.told[at] = true
	return true
}

func (n *notifier) stalled(d time.Duration) {
	n.tell(slog.LevelWarn, call(n.events.WriteStalled, WriteStalled{d}), "a writer had to wait", "took", d)
}

// space tells that a write has found the disk full, or, with nil, room.
func (n *notifier) space(err error) {
	n.mu.Lock()
	was := n.full
	n.full = err != nil
	n.mu.Unlock()
	if err != nil && !was {
		n.tell(slog.LevelWarn, call(n.events.SpaceLow, SpaceLow{err}), "the disk is full", "error", err)
	}
}

// dropped is how many events were not delivered.
func (n *notifier) dropped() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}
