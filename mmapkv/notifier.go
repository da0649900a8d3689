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

const (
	defaultSlowThreshold = 100 * time.Millisecond
	maxWaitingEvents     = 1024
	maxToldPlaces        = 1024
)

// notifier hands events to the callbacks and the logger. Its methods may be called under any
// lock: they only queue the event. The goroutine that empties the queue lives while there is
// something in it, so none must be stopped.
type notifier struct {
	events        Events
	logger        *slog.Logger // nil if nobody wants messages
	slowThreshold time.Duration
	spaceIsLow    atomic.Bool
	hasFailed     atomic.Bool
	undelivered   atomic.Int64
	compactions   compactions
	stalledFor    atomic.Int64 // nanoseconds that writers have waited

	mu         rank.Mutex[rank.Notifier] // guards what follows; a leaf
	waiting    []func()
	delivering bool           // a goroutine runs deliver
	told       []CorruptError // reported places, without reasons; oldest first
}

// newNotifier makes a notifier. log may be nil.
func newNotifier(e Events, log *slog.Logger) *notifier {
	return &notifier{events: e, logger: log, slowThreshold: cmp.Or(e.SlowThreshold, defaultSlowThreshold)}
}

// CompactionStarted reports that a compaction begins.
func (n *notifier) CompactionStarted(files []string, bytesIn int64) {
	tell(n, n.events.CompactionStarted, CompactionStarted{Files: slices.Clone(files), BytesIn: bytesIn},
		slog.LevelInfo, "mmapkv: compaction started", "files", slices.Clone(files), "bytesIn", bytesIn)
}

// CompactionEnded reports that a compaction is over, and counts it.
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

// Rotated reports that the log continues in a new file.
func (n *notifier) Rotated(file string) {
	tell(n, n.events.Rotated, Rotated{File: file}, slog.LevelDebug, "mmapkv: the log goes on in a new file", "file", file)
}

// recovered reports what Open found. Open writes the message itself.
func (n *notifier) recovered(r RecoveryStats) {
	r.Damages = slices.Clone(r.Damages)
	if n.events.Recovered != nil {
		n.enqueue(func() { n.events.Recovered(r) })
	}
}

// watchesSlow reports whether operations must be timed.
func (n *notifier) watchesSlow() bool { return n.events.SlowOperation != nil }

// slow reports an operation, if it took long enough.
func (n *notifier) slow(operation string, took time.Duration) {
	if took < n.slowThreshold {
		return
	}
	tell(n, n.events.SlowOperation, SlowOperation{Operation: operation, Duration: took},
		slog.LevelWarn, "mmapkv: slow operation", "operation", operation, "took", took)
}

// Corruption reports damage that a room found.
func (n *notifier) Corruption(d failure.Damage) { n.corruption((*CorruptError)(&d)) }

// corruption reports damage, once for each place.
func (n *notifier) corruption(c *CorruptError) {
	if n.isNew(CorruptError{File: c.File, Offset: c.Offset}) {
		tell(n, n.events.CorruptionFound, *c,
			slog.LevelError, "mmapkv: damage", "file", c.File, "offset", c.Offset, "reason", c.Reason)
	}
}

// isNew reports whether damage at a place has not been reported yet, and notes it.
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

// Stalled reports that a writer had to wait, and adds up how long.
func (n *notifier) Stalled(d time.Duration) {
	n.stalledFor.Add(int64(d))
	tell(n, n.events.WriteStalled, WriteStalled{Duration: d}, slog.LevelWarn, "mmapkv: writers had to wait", "took", d)
}

// SpaceLow reports that the disk is full, once until SpaceBack is called.
func (n *notifier) SpaceLow(err error) {
	if n.spaceIsLow.CompareAndSwap(false, true) {
		tell(n, n.events.SpaceLow, SpaceLow{Err: err}, slog.LevelWarn, "mmapkv: the disk is full", "error", err)
	}
}

// SpaceBack notes that the disk had space. It is cheap enough to be called after every write:
// usually it only loads.
func (n *notifier) SpaceBack() {
	if n.spaceIsLow.Load() {
		n.spaceIsLow.Store(false)
	}
}

// Failed reports, once, why the store takes no more writes.
func (n *notifier) Failed(err error) {
	if !n.hasFailed.Swap(true) {
		n.message(slog.LevelError, "mmapkv: a write or sync failed; the store takes no more writes until it is opened again", "error", err)
	}
}

// message queues a message that belongs to no event.
func (n *notifier) message(level slog.Level, text string, attributes ...any) {
	tell[struct{}](n, nil, struct{}{}, level, text, attributes...)
}

// dropped returns how many events were dropped.
func (n *notifier) dropped() int64 { return n.undelivered.Load() }

// tell queues an event for its callback and the log, if either wants it. The message bears the
// time of the event, not of the delivery. Even whether the logger is enabled is asked only at
// delivery, since the logger is the user's.
func tell[E any](n *notifier, callback func(E), event E, level slog.Level, message string, attributes ...any) {
	if n.logger == nil && callback == nil {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.Add(attributes...)
	n.enqueue(func() {
		if ctx := context.Background(); n.logger != nil && n.logger.Enabled(ctx, level) {
			_ = n.logger.Handler().Handle(ctx, record) // there is nowhere to report an error, as in package slog
		}
		if callback != nil {
			callback(event)
		}
	})
}

// enqueue queues an event, and starts the delivery if it does not run.
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

// deliver runs until the queue is empty. If a callback ends the goroutine, as testing's FailNow
// does, another goroutine delivers the rest.
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

// next takes the oldest event out of the queue; nil ends the delivery.
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
