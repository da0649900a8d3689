// Package wal answers where the next record goes: it commits writes to the tail of the log,
// rotates the log to a new file, and seals the old one.
//
// A file starts with only its header, synced, and is then listed in the manifest. It becomes the
// tail of the log, then ends, and then is sealed. At most two files are unsealed: the tail, and
// either the previous one until it is sealed, or the next one, prepared ahead of time.
//
// What must hold:
//
//   - One writer at a time, the leader of the group, assigns sequence numbers, writes, and
//     publishes. Within a file the numbers have no gaps.
//   - Under fsync.Always nobody sees a write before it is on disk. Under every policy the index
//     moves only after the bytes are written.
//   - After an error nothing of a write is visible. If writing failed, what was written past the
//     end of the log is cut off, durably, before the writer hears of the error. If the cut or a
//     sync failed, the error is ErrFailed, and the next Open may find the records.
//   - A write on a condition is made, or refused, on exactly what is published before it in the log:
//     see Condition.
//   - A file is listed before its first record. Sealing syncs it, writes its hint, and lists it
//     as sealed, in this order.
//
// A file has four ends. They differ because a record is written before it counts, and counts
// before readers may see it:
//
//	name        what it is                     valid              who sets it
//	Active.End  where the next byte goes       until sealed       the leader, once bytes are written
//	Tail.End    where the log ends: offset     while it is the    the leader, once they are synced
//	            and sequence number            tail               too, under fsync.Always
//	Limit       readers see the bytes before   always             the leader, before the index moves
//	File.End    where its records end: offset  once Ended is set  EndTail, under FileList.Mu
//	            and sequence number
//
// In the tail, Limit <= Tail.End.Offset <= Active.End. For a file that it did not write, Open or
// recovery sets all but Tail.End, and Continue sets that. A compaction sets the Limit and the
// File.End of its output, which has no Active.
package wal

import (
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/conflict"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
)

// Options is what a log needs from its store.
type Options struct {
	// Always makes every write durable before anyone can see it.
	Always bool
	// Hasher computes the fingerprints of keys.
	Hasher index.Hasher
	// Stop is closed to stop Maintain.
	Stop <-chan struct{}
	// Closed reports whether Close has begun.
	Closed func() bool
	// Busy reports whether any calls are writing.
	Busy func() bool
	// MakeRoom frees space on a full disk for a delete, and reports whether to try again. The
	// leader calls it, and it may compact.
	MakeRoom func() bool
	// Exclude calls do while nobody compacts, and returns false without that if somebody does.
	Exclude func(do func() (bool, error)) (did bool, err error)
	// PartStep is how many bytes of the log each partial hint covers; 0 is 32 MiB.
	PartStep int64
	// WakeCompactor makes the compactor look for work. It does not wait.
	WakeCompactor func()
	// Conflicts gets the keys that are written while transactions are open.
	Conflicts *conflict.List
	// Compacts says that compaction runs in the background and reclaims what has expired.
	Compacts bool
	// Events is told what happens to the log.
	Events Events
}

// Events is told what happens to the log. Its methods may be called under any lock.
type Events interface {
	// Rotated reports the name of the file in which the log continues.
	Rotated(file string)
	// Stalled reports how long a writer waited because syncs fell behind.
	Stalled(time.Duration)
	// SpaceLow reports that the disk is full, with the error that said so.
	SpaceLow(error)
	// SpaceBack reports that the disk had space. It is called often, so it must be cheap.
	SpaceBack()
	// Failed reports that a sync failed. No write follows.
	Failed(error)
}

// Log is the tail of a store's log. All methods may be called concurrently, except where they say
// that the leader calls them.
type Log struct {
	Options
	catalog   *catalog.Catalog
	hints     *hints.Hints
	residency *residency.Residency
	space     *space.Space
	sweeper   *sweep.Sweeper

	group *fsync.Group[*Write]
	// Tail is where the log continues. It is guarded by leadership of group, and exported for
	// tests.
	Tail tail
	shut bool // Close has led, and no write follows; guarded by leadership of group

	// Written is the highest sequence number that is written, so that it may be synced and
	// acknowledged.
	Written atomic.Uint64
	// Published is the highest sequence number in the index. All lower ones are there too.
	Published atomic.Uint64

	// Maintenance is held while files are sealed or prepared. It guards sealing, Prepared, spare and
	// partials, and is exported for tests.
	Maintenance rank.Mutex[rank.Maintenance]
	sealing     pace.Pacer   // what sealing keeps pace with
	sealWaiters atomic.Int32 // writers that wait for sealing to finish
	// Prepared is the next tail, already listed; nil if there is none. It is exported for tests.
	Prepared *catalog.File
	spare    *catalog.File // was prepared once; then a long value's file took its place
	partials partials      // of the tail
	ahead    ahead         // guarded by leadership of group
	awaited  atomic.Bool   // a partial hint waits for a sync
	quiet    pace.Pacer    // what work keeps pace with that nobody waits for; of Maintain alone
	wake     chan struct{} // holds one token when Maintain has something to do
}

// New makes the log of a catalog. Call Continue once the files are open.
func New(c *catalog.Catalog, h *hints.Hints, r *residency.Residency, p *space.Space, w *sweep.Sweeper, o Options) *Log {
	l := &Log{Options: o, catalog: c, hints: h, residency: r, space: p, sweeper: w, wake: make(chan struct{}, 1)}
	if l.PartStep == 0 {
		l.PartStep = partStep
	}
	l.group = fsync.NewGroup[*Write]()
	l.group.SetLinger(o.Always)
	return l
}

// Continue makes the log continue where the files end. Open calls it once, before the first
// write.
func (l *Log) Continue() {
	t := &l.Tail
	t.seq = l.catalog.LastGiven.Load()
	t.markedClean = l.catalog.Manifest.Current.Clean
	order := l.catalog.Files.Order
	if n := len(order); n > 0 {
		last := order[n-1]
		t.End = last.End
		if last.Active != nil && !last.Ended && !l.catalog.ReadOnly {
			t.File = last
			t.empty = t.End.Offset == last.DataStart
			if n > 1 {
				t.previous = order[n-2].End
			}
		}
	}
	// The file in which the log ended may be gone, because none of its records were needed.
	t.End.Seq = max(t.End.Seq, l.catalog.Manifest.Current.SealedSeq)
	l.Written.Store(t.End.Seq)
	l.Published.Store(t.End.Seq)
	l.catalog.Syncer.MarkDurable(t.End.Seq)
}

// AsLeader runs fn as the leader of the group. No write is committed while fn runs.
func (l *Log) AsLeader(fn func()) {
	l.group.EnterAlone()
	defer l.group.Leave()
	fn()
}

// Sync returns once everything that was acknowledged before is durable. Its error latches.
func (l *Log) Sync() error {
	if err := l.catalog.Syncer.SyncTo(l.Written.Load()); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	return nil
}

// SyncFiles makes everything written so far durable, oldest file first, and returns the last
// sequence number that this covers. Only the syncer calls it, one call at a time.
func (l *Log) SyncFiles() (upTo uint64, err error) {
	defer pace.Region("sync").End()
	upTo = l.Written.Load()
	for _, f := range l.catalog.Files.Unsealed() {
		if err := f.Sync(); err != nil {
			l.Events.Failed(err) // perhaps nobody is waiting for this sync
			return 0, err
		}
	}
	if l.awaited.Load() {
		l.catalog.Syncer.MarkDurable(upTo)
		l.WakeMaintenance()
	}
	return upTo, nil
}
