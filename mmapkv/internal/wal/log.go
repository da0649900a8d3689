// Package wal is the tail of the log: it commits writes, makes the log go on in a new file,
// and seals the old one.
//
// A file's life: created and synced with nothing but its header, listed in the manifest,
// then the tail of the log, then ended, then sealed. At most two files are unsealed: the
// tail and either the one before it, until it is sealed, or the next, prepared ahead.
//
// What must hold:
//
//   - One writer at a time, the leader of the group, gives sequence numbers, writes, and
//     publishes. Within a file numbers have no gaps.
//   - Under fsync.Always nobody sees a write before it is on disk. Under every policy the
//     index moves only after the bytes are written.
//   - On an error nothing of a write is visible, and what it left behind the log's end is
//     cut off, durably, before its writer hears of it.
//   - A file is listed before its first record, and synced, hinted and listed as sealed in
//     this order.
package wal

import (
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
)

// Options says what a log needs of its store.
type Options struct {
	Always bool // nobody sees a write before it is on disk
	Hasher index.Hasher
	Stop   <-chan struct{} // closed to stop Maintain
	Closed func() bool     // Close has begun
	Busy   func() bool     // calls are writing
	// MakeRoom finds room on a full disk for a delete, and says whether to try again. It
	// is called under leadership, and may compact.
	MakeRoom func() bool
	// WakeCompactor makes the compactor look for something to do; nil where nothing
	// compacts in the background. It does not wait.
	WakeCompactor func()
	Compacts      bool // what has expired is compacted in the background
	Events        Events
}

// Events is told what happens to the log. Its methods may be called under any lock.
type Events interface {
	Rotated(file string)
	Stalled(time.Duration)
	SpaceLow(error)
	SpaceBack()
	Failed(error)
}

// Log is the tail of a store's log.
type Log struct {
	Options
	catalog   *catalog.Catalog
	hints     *hints.Hints
	residency *residency.Residency
	space     *space.Space
	sweeper   *sweep.Sweeper

	group *fsync.Group[*Write]
	Tail  tail // guarded by leadership of group
	shut  bool // guarded by leadership of group: no write follows

	Acknowledged atomic.Uint64 // the highest number that is written, and may be acknowledged
	Published    atomic.Uint64 // the highest one that the index knows, with all below

	// maintenance guards prepared, spare and sealing.
	Maintenance rank.Mutex[rank.Maintenance]
	sealing     pace.Pacer    // what sealing keeps pace with
	sealWaiters atomic.Int32  // writers who wait for sealing to end
	Prepared    *catalog.File // listed, and the next tail
	spare       *catalog.File // prepared once, then displaced by a long value's file
	wake        chan struct{} // holds one token when Maintain has something to do
}

// New makes the log of a catalog. Continue says where it goes on.
func New(c *catalog.Catalog, h *hints.Hints, r *residency.Residency, p *space.Space, w *sweep.Sweeper, o Options) *Log {
	l := &Log{Options: o, catalog: c, hints: h, residency: r, space: p, sweeper: w, wake: make(chan struct{}, 1)}
	l.group = fsync.NewGroup[*Write]()
	l.group.SetLinger(o.Always)
	return l
}

// Continue makes the tail go on where the files end.
func (l *Log) Continue() {
	t := &l.Tail
	t.seq = l.catalog.LastGiven.Load()
	t.clean = l.catalog.Manifest.Current.Clean
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
	// The file where the log ended may be gone, since nothing of it was needed.
	t.End.Seq = max(t.End.Seq, l.catalog.Manifest.Current.SealedSeq)
	l.Acknowledged.Store(t.End.Seq)
	l.Published.Store(t.End.Seq)
	l.catalog.Syncer.MarkDurable(t.End.Seq)
}

// AsLeader runs fn as the leader of the group: no write is committed meanwhile.
func (l *Log) AsLeader(fn func()) {
	l.group.EnterAlone()
	defer l.group.Leave()
	fn()
}

// Sync makes durable what was acknowledged.
func (l *Log) Sync() error {
	if err := l.catalog.Syncer.SyncTo(l.Acknowledged.Load()); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	return nil
}

// SyncFiles makes everything written so far durable, oldest file first. It is the
// syncer's sync: one call at a time.
func (l *Log) SyncFiles() (upTo uint64, err error) {
	defer pace.Region("sync").End()
	upTo = l.Acknowledged.Load()
	for _, f := range l.catalog.Files.Unsealed() {
		if err := f.Sync(); err != nil {
			l.Events.Failed(err) // nobody may be waiting for it
			return 0, err
		}
	}
	return upTo, nil
}
