package mmapkv

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

// logOptions says what a log needs of its store.
type logOptions struct {
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
	Events        logEvents
}

// logEvents is told what happens to the log. Its methods may be called under any lock.
type logEvents interface {
	Rotated(file string)
	Stalled(time.Duration)
	SpaceLow(error)
	SpaceBack()
	Failed(error)
}

// log is the tail of a store's log.
type log struct {
	logOptions
	catalog   *catalog.Catalog
	hints     *hints.Hints
	residency *residency.Residency
	space     *space.Space
	sweeper   *sweep.Sweeper

	group *fsync.Group[*write]
	tail  tail // guarded by leadership of group
	shut  bool // guarded by leadership of group: no write follows

	acknowledged atomic.Uint64 // the highest number that is written, and may be acknowledged
	published    atomic.Uint64 // the highest one that the index knows, with all below

	// maintenance guards prepared, spare and sealing.
	maintenance rank.Mutex[rank.Maintenance]
	sealing     pace.Pacer    // what sealing keeps pace with
	sealWaiters atomic.Int32  // writers who wait for sealing to end
	prepared    *catalog.File // listed, and the next tail
	spare       *catalog.File // prepared once, then displaced by a long value's file
	wake        chan struct{} // holds one token when Maintain has something to do
}

// newLog makes the log of a catalog. Continue says where it goes on.
func newLog(c *catalog.Catalog, h *hints.Hints, r *residency.Residency, p *space.Space, w *sweep.Sweeper, o logOptions) *log {
	l := &log{logOptions: o, catalog: c, hints: h, residency: r, space: p, sweeper: w, wake: make(chan struct{}, 1)}
	l.group = fsync.NewGroup[*write]()
	l.group.SetLinger(o.Always)
	return l
}

// continueLog makes the tail go on where the files end.
func (l *log) continueLog() {
	t := &l.tail
	t.seq = l.catalog.LastGiven.Load()
	t.clean = l.catalog.Manifest.Current.Clean
	order := l.catalog.Files.Order
	if n := len(order); n > 0 {
		last := order[n-1]
		t.end = last.End
		if last.Active != nil && !last.Ended && !l.catalog.ReadOnly {
			t.file = last
			t.empty = t.end.Offset == last.DataStart
			if n > 1 {
				t.previous = order[n-2].End
			}
		}
	}
	// The file where the log ended may be gone, since nothing of it was needed.
	t.end.Seq = max(t.end.Seq, l.catalog.Manifest.Current.SealedSeq)
	l.acknowledged.Store(t.end.Seq)
	l.published.Store(t.end.Seq)
	l.catalog.Syncer.MarkDurable(t.end.Seq)
}

// asLeader runs fn as the leader of the group: no write is committed meanwhile.
func (l *log) asLeader(fn func()) {
	l.group.EnterAlone()
	defer l.group.Leave()
	fn()
}

// syncAll makes durable what was acknowledged.
func (l *log) syncAll() error {
	if err := l.catalog.Syncer.SyncTo(l.acknowledged.Load()); err != nil {
		return l.catalog.Latch.SyncError(err)
	}
	return nil
}

// syncLog makes everything written so far durable, oldest file first. It is the
// syncer's sync: one call at a time.
func (l *log) syncLog() (upTo uint64, err error) {
	defer pace.Region("sync").End()
	upTo = l.acknowledged.Load()
	for _, f := range l.catalog.Files.Unsealed() {
		if err := f.Sync(); err != nil {
			l.Events.Failed(err) // nobody may be waiting for it
			return 0, err
		}
	}
	return upTo, nil
}
