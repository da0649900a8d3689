package mmapkv

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// reentrant is a slog.Handler that calls the store that logs. Both of its methods do
// so once the message that the test is about has arrived.
type reentrant struct {
	call   func(s *Store)
	opened chan struct{} // closed when the store is open and can be called
	store  atomic.Pointer[Store]
	calls  atomic.Int64

	message string        // a part of the message that the test is about
	arrived chan struct{} // closed when that message has arrived
	once    sync.Once
}

// mostReentries limits the calls a handler makes, since calls may cause messages.
const mostReentries = 30

func (h *reentrant) reenter() {
	if !h.hasArrived() {
		return
	}
	<-h.opened
	if h.calls.Add(1) <= mostReentries {
		h.call(h.store.Load())
	}
}

func (h *reentrant) Enabled(context.Context, slog.Level) bool {
	h.reenter()
	return true
}

func (h *reentrant) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.message) {
		h.once.Do(func() { close(h.arrived) })
	}
	h.reenter()
	return nil
}

func (h *reentrant) hasArrived() bool {
	select {
	case <-h.arrived:
		return true
	default:
		return false
	}
}

func (h *reentrant) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *reentrant) WithGroup(string) slog.Handler      { return h }

// reentryBed is a store on a disk that fails on demand. Its logger calls the store.
type reentryBed struct {
	*testing.T
	dir  string
	o    Options
	disk *errorfs.Disk
	h    *reentrant
}

// open opens the store; until then the logger has no store to call.
func (b *reentryBed) open() *Store {
	o := b.o
	inject.Into(&o, &inject.Seams{FS: b.disk})
	o.Logger = slog.New(b.h)
	s := open(b, b.dir, &o)
	b.h.store.Store(s)
	close(b.h.opened)
	return s
}

// fill fills a store that has no logger, and closes it.
func (b *reentryBed) fill(to int) {
	o := b.o
	s := open(b, b.dir, &o)
	fill(b, s, 0, to, 100)
	closeStore(b, s)
}

// prepared waits until the log's next file exists.
func (b *reentryBed) prepared(s *Store) {
	waitFor(b.T, "the next file", func() bool {
		s.log.Maintenance.Lock()
		defer s.log.Maintenance.Unlock()
		return s.log.Prepared != nil
	})
}

// putSome puts, and ignores errors.
func putSome(s *Store, n int) {
	for i := range n {
		key, value := numbered(i, 100)
		_ = s.Put(key, value)
	}
}

// These are all the situations in which the store logs.
var reentrySituations = []struct {
	name    string
	message string
	run     func(b *reentryBed)
}{
	{"the directory is removed", "a hint could not be written", func(b *reentryBed) {
		s := b.open()
		fill(b, s, 0, 20, 100)
		b.prepared(s)
		if err := os.RemoveAll(b.dir); err != nil {
			b.Fatal(err)
		}
		putSome(s, 200)
		_ = s.Compact(b.Context())
	}},
	{"the disk is full", "the disk is full", func(b *reentryBed) {
		s := b.open()
		fill(b, s, 0, 100, 100)
		b.disk.Fail(fails(syscall.ENOSPC, "", errorfs.Allocate))
		putSome(s, 100)
		key, _ := numbered(0, 0)
		_ = s.Delete(key)
	}},
	{"a hint does not fit", "a hint could not be written", func(b *reentryBed) {
		b.disk.Fail(fails(syscall.ENOSPC, ".hint.tmp", errorfs.Create))
		putSome(b.open(), 100)
	}},
	{"a sync of a leader fails", "a write or sync failed", func(b *reentryBed) {
		b.o.Sync = fsync.Always
		s := b.open()
		b.disk.Fail(fails(syscall.EIO, "", errorfs.Datasync))
		putSome(s, 3)
	}},
	{"a write fails", "a write or sync failed", func(b *reentryBed) {
		s := b.open()
		b.disk.Fail(fails(syscall.EIO, ".seg", errorfs.Write))
		putSome(s, 3)
	}},
	{"a sync of the background fails", "a write or sync failed", func(b *reentryBed) {
		b.o.Sync = fsync.Every(time.Millisecond)
		s := b.open()
		b.disk.Fail(fails(syscall.EIO, ".seg", errorfs.Datasync))
		putSome(s, 3)
		waitFor(b.T, "the failure", func() bool { return s.Stats().Err != nil || s.Len() == 0 })
	}},
	{"Sync fails", "a write or sync failed", func(b *reentryBed) {
		b.o.Sync = fsync.Never
		s := b.open()
		putSome(s, 3)
		b.disk.Fail(fails(syscall.EIO, ".seg", errorfs.Datasync))
		_ = s.Sync()
	}},
	{"a read finds damage", "damage", func(b *reentryBed) {
		b.fill(100)
		first := manifestOf(b, b.dir).Segments[0]
		at := entriesOf(b, b.dir, first)[0]
		flipAt(b, b.dir, segment.FileName(first.ID), at.Offset+at.Size/2)
		s := b.open()
		_, _ = s.Get(at.Key)
	}},
	{"the scrub finds damage", "damage", func(b *reentryBed) {
		b.fill(100)
		flipAt(b, b.dir, segment.FileName(manifestOf(b, b.dir).Segments[0].ID), 1000)
		b.o.ScrubBytesPerSecond = 1 << 40
		b.open()
		<-b.h.arrived
	}},
	{"the scrub cannot read", "could not be read by the scrub", func(b *reentryBed) {
		b.fill(100)
		bad := fails(syscall.ENOMEM, segment.FileName(manifestOf(b, b.dir).Segments[0].ID), errorfs.Read)
		match := bad.Match
		bad.Match = func(op errorfs.Op) bool { return match(op) && op.Length > 1000 }
		b.disk.Fail(bad)
		b.o.ScrubBytesPerSecond = 1 << 40
		b.open()
		<-b.h.arrived
	}},
	{"a compaction ends", "compaction ended", func(b *reentryBed) {
		s := b.open()
		putSome(s, 100)
		putSome(s, 100)
		_ = s.Compact(b.Context())
	}},
	{"a file cannot be removed", "could not be removed", func(b *reentryBed) {
		b.disk.Fail(fails(syscall.EACCES, ".seg", errorfs.Remove))
		s := b.open()
		putSome(s, 100)
		putSome(s, 100)
		_ = s.Compact(b.Context())
	}},
	{"the background fails", "it is tried again", func(b *reentryBed) {
		s := b.open()
		putSome(s, 1)
		b.disk.Fail(fails(syscall.EMFILE, ".seg", errorfs.Create))
		putSome(s, 100)
		<-b.h.arrived
	}},
	{"the log goes on in a new file", "a new file", func(b *reentryBed) { putSome(b.open(), 100) }},
	{"an operation is slow", "slow operation", func(b *reentryBed) {
		b.o.Events = Events{SlowThreshold: 1, SlowOperation: func(SlowOperation) {}}
		putSome(b.open(), 100)
	}},
	{"a recovery", "opened", func(b *reentryBed) {
		o := b.o
		s := open(b, b.dir, &o)
		putSome(s, 100)
		b.dir = killed(b, s, b.dir)
		b.open()
	}},
}

// These are the calls that the logger makes.
var reentryCalls = []struct {
	name string
	call func(s *Store)
}{
	{"Put", func(s *Store) { _ = s.Put([]byte("from the logger"), make([]byte, 100)) }},
	{"Delete", func(s *Store) { key, _ := numbered(1, 0); _ = s.Delete(key) }},
	{"Stats", func(s *Store) { s.Stats() }},
	{"Compact", func(s *Store) { _ = s.Compact(context.Background()) }},
	{"Verify", func(s *Store) { _, _ = s.Verify(context.Background()) }},
	{"Sync", func(s *Store) { _ = s.Sync() }},
	{"Close", func(s *Store) { _ = s.Close() }},
}

// TestLoggerMayCallTheStore: whatever the store logs, the handler may call any method
// of the store without a deadlock.
func TestLoggerMayCallTheStore(t *testing.T) {
	for _, situation := range reentrySituations {
		for _, reentry := range reentryCalls {
			t.Run(situation.name+"/"+reentry.name, func(t *testing.T) {
				hangs := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": the store hangs") })
				defer hangs.Stop()
				b := &reentryBed{T: t, dir: filepath.Join(t.TempDir(), "store"), o: *tiny(), disk: errorfs.New(vfs.OS()), h: &reentrant{
					call: reentry.call, opened: make(chan struct{}), message: situation.message, arrived: make(chan struct{})}}
				situation.run(b)
				s := b.h.store.Load()
				_ = s.Close() // it returns the error that the situation left
				<-b.h.arrived
				waitFor(t, "the last message", func() bool { return isIdle(s.events) })
				if b.h.calls.Load() == 0 {
					t.Error("the logger has not called the store")
				}
			})
		}
	}
}
