package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Store is an open store. Open makes one; Close ends it.
type Store struct {
	options Options
	always  bool // Options.Sync is fsync.Always
	now     func() time.Time
	random  func() uint64
	hasher  index.Hasher

	path string
	dir  vfs.Dir
	lock vfs.Lock // nil when read-only media has no lock file

	lockName fileName // of LOCK, if this is its owner

	live     atomic.Pointer[live] // what readers use; nil after Close
	walks    walks
	files    fileSet
	manifest manifestLog
	recovery RecoveryStats

	group  *fsync.Group[*write]
	syncer *fsync.Syncer
	tail   tail // guarded by leadership of group
	shut   bool // guarded by leadership of group: no write follows

	lastGiven    atomic.Uint64 // the highest sequence number that may be on disk
	acknowledged atomic.Uint64 // the highest one that is written, and may be acknowledged
	published    atomic.Uint64 // the highest one that the index knows, with all below
	// hides says that there may be records which the index does not have: they had
	// expired when it lost them, or lie in ranges that cannot be read. A clock that
	// is set back, or a disk that recovers, would have the next Open find them, so a
	// Delete of an absent key is written down.
	hides   atomic.Bool
	stalled atomic.Int64 // nanoseconds that writers waited for syncs

	// maintenance guards prepared, spare and sealing.
	maintenance rank.Mutex[rank.Maintenance]
	sealing     pacer        // what sealing keeps pace with
	sealWaiters atomic.Int32 // writers who wait for sealing to end
	prepared    *file        // listed, and the next tail
	spare       *file        // prepared once, then displaced by a long value's file
	reserve     reserve

	compacting     chan struct{} // holds one token while somebody compacts
	liftBudget     chan struct{} // holds one token when a delete waits for that on a full disk
	compactions    compactions
	space          space
	scrubs         scrubs
	events         *notifier
	wakeCompaction chan struct{} // holds one token when compact has something to look at
	expiry         expiry
	wakePopulate   chan struct{} // holds one token when populate has
	populateAll    atomic.Bool   // and looks at all files

	watcher watcher

	closed     atomic.Bool
	writing    atomic.Int64  // writes in flight
	wroteLast  chan struct{} // holds a token when the last of them ends after closed is set
	closing    sync.Once
	closeError error
	wake       chan struct{} // holds one token when maintain has something to do
	stop       chan struct{} // closed to stop the goroutines
	running    sync.WaitGroup
}

// start starts the goroutines. Close stops them.
func (s *Store) start() {
	s.startWatch()
	s.background("populate", s.populate)
	if s.options.ScrubBytesPerSecond > 0 {
		s.background("scrub", s.scrub)
	}
	s.startExpire()
	if s.options.ReadOnly {
		return
	}
	s.background("maintain", s.maintain)
	if !s.options.Compaction.Disabled {
		s.background("compact", s.compact)
	}
	s.background("sync", func() { s.syncer.Run(s.stop) })
}

// background runs fn in a goroutine that profiles name by the label mmapkv.
func (s *Store) background(name string, fn func()) {
	s.running.Go(func() {
		rank.Acquire[rank.Background]()
		defer rank.Release[rank.Background]()
		pprof.Do(context.Background(), pprof.Labels("mmapkv", name), func(context.Context) { fn() })
	})
}

// region marks a piece of work in execution traces; its End is deferred.
func region(name string) *trace.Region {
	return trace.StartRegion(context.Background(), "mmapkv: "+name)
}

// Close finishes the writes in flight, syncs, and releases the store; reads in
// flight complete. Every call that starts afterwards is ErrClosed; a second Close
// returns what the first one did. The error is that of the last sync or of a
// failure before; what is on disk is safe to open again in any case.
func (s *Store) Close() error {
	s.closing.Do(func() {
		rank.Acquire[rank.Closing]()
		defer rank.Release[rank.Closing]()
		s.closed.Store(true)
		s.space.end()
		close(s.stop)
		s.endWatch()
		s.awaitWrites()
		s.running.Wait()
		if s.options.ReadOnly {
			s.endCompactions()
		} else {
			s.group.Exclusive(func() {
				s.shut = true
				s.endCompactions()
				s.closeError = s.finish()
			})
		}
		s.closeError = errors.Join(s.closeError, s.release())
	})
	return s.closeError
}

// endCompactions waits for the compaction that runs; none follows.
func (s *Store) endCompactions() { s.compacting <- struct{}{} }

// finish brings everything to the disk and says in the manifest that it did, so
// that the next Open has nothing to scan. It runs as the last leader.
func (s *Store) finish() error {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	if err := s.syncer.SyncTo(s.acknowledged.Load()); err != nil {
		return s.syncFailed(err)
	}
	if s.tail.clean && s.prepared == nil && s.spare == nil {
		return nil // nothing was written
	}
	s.dropSpareLocked()
	prepared := s.prepared
	s.prepared = nil
	s.endUnused()
	for {
		sealed, err := s.sealOldestLocked(0, true)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	if err := s.finishTail(); err != nil {
		return err
	}
	err := s.edit(true, func(m *segment.Manifest) error {
		if prepared != nil {
			m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == prepared.ID })
		}
		m.Clean = true
		if n := len(m.Segments); n > 0 && !m.Segments[n-1].Sealed {
			m.Segments[n-1].End = s.tail.end
		}
		return nil
	})
	if err == nil && prepared != nil {
		s.remove(segment.FileName(prepared.ID))
	}
	return err
}

// finishTail trims the tail and writes its hint. Should a power loss bring the
// old length back, the next Open leaves the file alone and goes on in another.
func (s *Store) finishTail() error {
	f := s.tail.file
	if f == nil {
		return nil
	}
	if err := f.active.Trim(); err != nil {
		return s.writeFailed(err)
	}
	return s.writeHint(f, s.tail.end)
}

// release lets go of everything: when it returns, what no read uses is unmapped and
// closed, and a closed Store in a variable holds neither files nor the index.
func (s *Store) release() error {
	s.walks.leave(s.live.Load())
	s.live.Store(nil)
	files := s.files.drop()
	s.tail.file = nil
	s.maintenance.Lock() // a Compact that comes too late may be looking
	if s.spare != nil {
		files = append(files, s.spare)
	}
	s.prepared, s.spare = nil, nil
	s.maintenance.Unlock()
	for _, f := range files {
		f.Retire()
	}
	var err error
	if s.lock != nil {
		err = s.lock.Unlock()
	}
	err = errors.Join(err, s.dir.Close())
	for _, f := range files {
		f.AwaitRelease()
	}
	s.space.awaitReleases()
	return err
}

// Open opens the store in a directory, making it and its parents when it is
// absent, and recovers what a crash left. A nil o means all defaults.
//
// ErrInvalid when an option is out of its range; ErrLocked when another opener has
// the store; ErrVersion when its files are of another version; an error that wraps
// ErrCorrupt when the manifest or a segment is missing or unreadable, or the manifest
// older than what lies beside it, as if put back from a copy; with ReadOnly
// fs.ErrNotExist when there is no store; errors.ErrUnsupported where no store can be
// kept, on other systems than linux, darwin and freebsd and on 32-bit machines. Damage
// that Open can work around is reported in Stats().Recovery and to the Logger.
func Open(dir string, o *Options) (_ *Store, err error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newStore(options)
	if err := s.enterDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := s.recover(); err != nil {
		return nil, err
	}
	if seams := options.seams; seams != nil && seams.OnOpen != nil {
		seams.OnOpen(s.steps())
	}
	if !s.manual() {
		s.start()
	}
	return s, nil
}

// enterDir opens the directory and takes the lock.
func (s *Store) enterDir(path string) (err error) {
	s.path = path
	fsys := s.fileSystem()
	if !s.options.ReadOnly {
		if _, err := vfs.MkdirAll(fsys, path); err != nil {
			return err
		}
	}
	if s.dir, err = fsys.OpenDir(path); err != nil {
		return err
	}
	if s.lock, err = s.takeLock(); err != nil {
		return errors.Join(err, s.dir.Close())
	}
	if !s.options.ReadOnly {
		s.lockName = nameOf(s.dir, segment.LockName)
	}
	s.reserve.dir = s.dir
	return nil
}

// lockPoll is how long Open waits before it asks for the lock again.
const lockPoll = 5 * time.Millisecond

func (s *Store) takeLock() (vfs.Lock, error) {
	mode := vfs.Exclusive
	if s.options.ReadOnly {
		mode = vfs.Shared
	}
	deadline := time.Now().Add(s.options.LockTimeout)
	for {
		lock, err := s.dir.Lock(segment.LockName, mode)
		switch {
		case err == nil:
			return lock, nil
		case s.options.ReadOnly && errors.Is(err, fs.ErrNotExist):
			return nil, nil // no writer has ever been here, or it is read-only media
		case !errors.Is(err, vfs.ErrLocked):
			return nil, err
		case !time.Now().Before(deadline):
			return nil, fmt.Errorf("%w: %w", ErrLocked, err)
		}
		time.Sleep(lockPoll)
	}
}
