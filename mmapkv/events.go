package mmapkv

import (
	"cmp"
	"context"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
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

const (
	defaultSlowThreshold = 100 * time.Millisecond
	maxWaitingEvents     = 1024
	maxToldPlaces        = 1024
)

// notifier hands events to the callbacks and the logger. Its methods may be called
// under any lock: they only put the event in a queue. The goroutine that
// empties the queue lives while there is something in it, so none has to be
// stopped.
type notifier struct {
	events        Events
	logger        *slog.Logger // nil: nobody wants messages
	slowThreshold time.Duration
	spaceIsLow    atomic.Bool
	hasFailed     atomic.Bool
	undelivered   atomic.Int64
	compactions   compactions
	stalledFor    atomic.Int64 // nanoseconds that writers have waited

	mu         rank.Mutex[rank.Notifier] // guards what follows; a leaf
	waiting    []func()
	delivering bool           // a goroutine runs deliver
	told       []CorruptError // without reasons; oldest first
}

func newNotifier(e Events, log *slog.Logger) *notifier {
	return &notifier{events: e, logger: log, slowThreshold: cmp.Or(e.SlowThreshold, defaultSlowThreshold)}
}

// CompactionStarted tells that a compaction begins.
func (n *notifier) CompactionStarted(files []string, bytesIn int64) {
	tell(n, n.events.CompactionStarted, CompactionStarted{Files: slices.Clone(files), BytesIn: bytesIn},
		slog.LevelInfo, "mmapkv: compaction started", "files", slices.Clone(files), "bytesIn", bytesIn)
}

// CompactionEnded tells that a compaction is over, and counts it.
func (n *notifier) CompactionEnded(report compact.Ended) {
	e := CompactionEnded(report)
	n.compactions.add(e)
	e.Files = slices.Clone(e.Files)
	attributes := []any{"files", slices.Clone(e.Files), "bytesIn", e.BytesIn, "bytesOut", e.BytesOut, "took", e.Duration}
	if e.Err != nil {
		attributes = append(attributes, "error", e.Err)
	}
	tell(n, n.events.CompactionEnded, e, slog.LevelInfo, "mmapkv: compaction ended", attributes...)
}

func (n *notifier) Rotated(file string) {
	tell(n, n.events.Rotated, Rotated{File: file}, slog.LevelDebug, "mmapkv: the log goes on in a new file", "file", file)
}

// message queues a message that belongs to no event.
func (n *notifier) message(level slog.Level, text string, attributes ...any) {
	tell[struct{}](n, nil, struct{}{}, level, text, attributes...)
}

// recovered writes no message: Open writes its own.
func (n *notifier) recovered(r RecoveryStats) {
	r.Damages = slices.Clone(r.Damages)
	if n.events.Recovered != nil {
		n.enqueue(func() { n.events.Recovered(r) })
	}
}

// watchesSlow says whether operations are to be timed.
func (n *notifier) watchesSlow() bool { return n.events.SlowOperation != nil }

// slow tells of an operation, if it took long enough.
func (n *notifier) slow(operation string, took time.Duration) {
	if took < n.slowThreshold {
		return
	}
	tell(n, n.events.SlowOperation, SlowOperation{Operation: operation, Duration: took},
		slog.LevelWarn, "mmapkv: slow operation", "operation", operation, "took", took)
}

// Corruption tells of damage that a room has met.
func (n *notifier) Corruption(d failure.Damage) { n.corruption((*CorruptError)(&d)) }

func (n *notifier) corruption(c *CorruptError) {
	if n.isNew(CorruptError{File: c.File, Offset: c.Offset}) {
		tell(n, n.events.CorruptionFound, *c,
			slog.LevelError, "mmapkv: damage", "file", c.File, "offset", c.Offset, "reason", c.Reason)
	}
}

// isNew says whether damage at a place has not been told yet, and remembers it.
func (n *notifier) isNew(place CorruptError) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.told, place) {
		return false
	}
	if len(n.told) == maxToldPlaces {
		n.told = slices.Delete(n.told, 0, 1)
	}
	n.told = append(n.told, place)
	return true
}

// Stalled tells that a writer had to wait, and counts how long.
func (n *notifier) Stalled(d time.Duration) {
	n.stalledFor.Add(int64(d))
	tell(n, n.events.WriteStalled, WriteStalled{Duration: d}, slog.LevelWarn, "mmapkv: writers had to wait", "took", d)
}

func (n *notifier) SpaceLow(err error) {
	if n.spaceIsLow.CompareAndSwap(false, true) {
		tell(n, n.events.SpaceLow, SpaceLow{Err: err}, slog.LevelWarn, "mmapkv: the disk is full", "error", err)
	}
}

// Failed tells why the store takes no more writes, once.
func (n *notifier) Failed(err error) {
	if !n.hasFailed.Swap(true) {
		n.message(slog.LevelError, "mmapkv: a write or sync failed; the store takes no more writes until it is opened again", "error", err)
	}
}

// SpaceBack is cheap enough to be called after every write: it mostly only loads.
func (n *notifier) SpaceBack() {
	if n.spaceIsLow.Load() {
		n.spaceIsLow.Store(false)
	}
}

func (n *notifier) dropped() int64 { return n.undelivered.Load() }

// tell queues an event for its callback and the log, if either wants it. The
// message bears the time of the event, not that of the delivery. The logger is not
// even asked before that: it is the user's.
func tell[E any](n *notifier, callback func(E), event E, level slog.Level, message string, attributes ...any) {
	if n.logger == nil && callback == nil {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.Add(attributes...)
	n.enqueue(func() {
		if ctx := context.Background(); n.logger != nil && n.logger.Enabled(ctx, level) {
			_ = n.logger.Handler().Handle(ctx, record) // there is nowhere to tell, as in package slog
		}
		if callback != nil {
			callback(event)
		}
	})
}

func (n *notifier) enqueue(event func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == maxWaitingEvents {
		n.waiting = slices.Delete(n.waiting, 0, 1)
		n.undelivered.Add(1)
	}
	n.waiting = append(n.waiting, event)
	if !n.delivering {
		n.delivering = true
		go n.deliver()
	}
}

// deliver runs until the queue is empty. A callback that ends its goroutine, as
// testing's FailNow does, leaves the rest to another one.
func (n *notifier) deliver() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("mmapkv", "events")))
	empty := false
	defer func() {
		if !empty {
			go n.deliver()
		}
	}()
	for event := n.next(); event != nil; event = n.next() {
		rank.AssertNone("a callback of Events or the Logger")
		event()
	}
	empty = true
}

// next takes the oldest event; nil ends the delivery.
func (n *notifier) next() func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == 0 {
		n.delivering = false
		return nil
	}
	event := n.waiting[0]
	n.waiting = slices.Delete(n.waiting, 0, 1)
	return event
}
