package mmapkv

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/load"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
)

// Store is an open store. Open makes one, and Close ends it.
type Store struct {
	options Options
	now     func() time.Time
	random  func() uint64
	hasher  index.Hasher

	path      string
	catalog   catalog.Catalog
	hints     hints.Hints
	residency *residency.Residency
	lock      vfs.Lock // nil on read-only media without a lock file

	walks    walks
	holds    holds
	recovery RecoveryStats // what Open itself found; final once it returns
	loading  *load.Loading // made by Open

	syncer *fsync.Syncer
	latch  *failure.Latch

	space    *space.Space
	scrubber *check.Scrubber
	events   *notifier
	sweeper  *sweep.Sweeper

	log       *wal.Log
	compactor *compact.Compactor
	order     *order.Order
	txs       transactions

	watcher watcher

	closed    atomic.Bool
	writing   atomic.Int64  // calls in flight that Close waits for
	wroteLast chan struct{} // holds a token once the last of them ends after closed is set
	closing   closing
	stop      chan struct{} // closed to stop the goroutines
	running   sync.WaitGroup
}

// closing is the Close of a Store, which happens once.
type closing struct {
	once sync.Once
	err  error // its result
}

// newStore makes a Store from checked options.
func newStore(options Options) *Store {
	s := &Store{
		options:   options,
		now:       options.clock(),
		random:    options.randomSource(),
		hasher:    options.newHasher(),
		stop:      make(chan struct{}),
		wroteLast: make(chan struct{}, 1),
		txs:       newTransactions(),

		events: newNotifier(options.Events, options.Logger),
	}
	s.syncer = fsync.NewSyncer(options.Sync, func() (upTo uint64, err error) { return s.log.SyncFiles() }, s.now)
	s.latch = failure.NewLatch(s.syncer, s.events.Failed)
	s.scrubber = newScrubber(s)
	s.makeFiles()
	s.makeLog()
	return s
}

// makeFiles makes the rooms that keep files.
func (s *Store) makeFiles() {
	o := &s.options
	s.catalog.Init(catalog.Options{
		SegmentSize: o.SegmentSize, ReadOnly: o.ReadOnly, LockMemory: o.LockMemory,
		SyncParents: func() error { return vfs.SyncParents(o.fileSystem(), s.path) },
		Syncer:      s.syncer, Latch: s.latch, Random: s.random, Message: s.events.message, NoteDamage: s.noteDamage,
		Forget: func(f *catalog.File) { s.order.Forget(f) },
	}, o.newIndex(o.ExpectedKeys))
	s.hints = hints.New(&s.catalog)
	s.order = order.New(order.Options{
		Catalog: &s.catalog, Hints: &s.hints, Hash: s.hasher.Hash,
		Published: func() uint64 { return s.log.Published.Load() },
	})
	s.residency = residency.New(&s.catalog)
	s.space = space.New(&s.catalog, space.Options{
		MaxRatio: o.Compaction.MaxSpaceRatio, Unbounded: o.Compaction.Disabled || s.manual(),
		WakeCompactor: func() { s.compactor.Wake() }, Stalled: s.events.Stalled,
		Idle: func() bool { return !s.loading.IsDone() },
	})
}

// makeLog makes the rooms that write.
func (s *Store) makeLog() {
	s.sweeper = sweep.New(&s.catalog, sweep.Options{
		Hasher: s.hasher, Now: judge(s), Manual: s.manual(), Stop: s.stop, Background: s.background,
		NewPacer:   func(ctx context.Context) (*pace.Pacer, func()) { return s.newQuietPacer(ctx, 0) },
		EndExpired: func() error { return s.log.EndExpired() },
	})
	s.log = wal.New(&s.catalog, &s.hints, s.residency, s.space, s.sweeper, wal.Options{
		Always: s.options.Sync == fsync.Always, Hasher: s.hasher, Stop: s.stop, Events: s.events,
		Closed: s.closed.Load, Busy: s.beingWritten, MakeRoom: func() bool { return s.compactor.MakeRoom() }, WakeCompactor: func() { s.compactor.Wake() },
		PartStep: s.options.partStep(), Exclude: func(do func() (bool, error)) (bool, error) { return s.compactor.Exclude(do) },
		Conflicts: s.txs.conflicts,
		Compacts:  !s.options.ReadOnly && !s.options.Compaction.Disabled,
	})
	s.compactor = compact.New(&s.catalog, &s.hints, s.space, s.sweeper, s.log, compact.Options{
		Hasher: s.hasher, Now: judge(s), Stop: s.stop, Closed: s.closed.Load, Busy: s.beingWritten, Writable: s.writable,
		GarbageRatio: s.options.Compaction.GarbageRatio, BytesPerSecond: s.options.Compaction.BytesPerSecond,
		Disabled: s.options.Compaction.Disabled, Manual: s.manual(), Between: s.options.between,
		UnlessEnded: s.unlessEnded, Events: s.events,
		Loaded: func() bool { return s.loading.IsDone() }, AwaitLoaded: func() error { return s.loading.Ready(nil) },
	})
}

// start starts the goroutines. Close stops them.
func (s *Store) start() {
	s.startWatch()
	s.background("prefault", s.prefault)
	if s.options.ScrubBytesPerSecond > 0 {
		s.background("scrub", s.scrub)
	}
	s.sweeper.Start()
	s.background("view", func() { keepView(s) })
	if s.options.ReadOnly {
		return
	}
	s.background("maintain", s.log.Maintain)
	if !s.options.Compaction.Disabled {
		s.background("compact", s.compactor.Run)
	}
	s.background("sync", func() { s.syncer.Run(s.stop) })
}

// background runs fn in a goroutine. Profiles show its name under the label mmapkv.
func (s *Store) background(name string, fn func()) {
	s.running.Go(func() {
		rank.Acquire[rank.Background]()
		defer rank.Release[rank.Background]()
		pprof.Do(context.Background(), pprof.Labels("mmapkv", name), func(context.Context) { fn() })
	})
}

// randomNumber draws the salt of a file. Nobody can guess it, so nobody can store a value that
// validates as a record.
func randomNumber() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
