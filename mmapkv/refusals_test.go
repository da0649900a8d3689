package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// Each test here fails one file call that random faults hardly ever hit. It checks that
// the store reports the failure or does without the call, and goes on once it is over.

// onFaulty opens a store on a real disk that fails on demand. The store has background
// goroutines unless it is manual.
func onFaulty(t *testing.T, o *Options, seams inject.Seams) (*Store, *errorfs.Disk) {
	t.Helper()
	disk := errorfs.New(vfs.OS())
	seams.FS = disk
	inject.Into(o, &seams)
	return open(t, t.TempDir(), o), disk
}

// fails is a rule that fails some kinds of calls on files whose names end with suffix.
func fails(errno syscall.Errno, suffix string, kinds ...errorfs.Kind) errorfs.Rule {
	only := errorfs.Only(kinds...)
	return errorfs.Rule{Err: errno, Forever: true, Match: func(op errorfs.Op) bool {
		return only(op) && strings.HasSuffix(op.Name, suffix)
	}}
}

// writeForTest is a write that has not joined a group.
func (s *Store) writeForTest(key, value []byte) *wal.Write {
	w := new(wal.Write)
	w.Draft = &w.Own
	w.Own.Put(key, value, 0)
	w.Fps = append(w.Fps, s.hasher.Fingerprint(key))
	return w
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is no end to waiting for %s", what)
		}
	}
}

func TestSyncThatAWriterWaitsForFails(t *testing.T) {
	now := time.Now()
	o := tiny()
	o.Sync = fsync.Every(time.Second)
	s, disk := onFaulty(t, o, inject.Seams{Manual: true, Now: func() time.Time { return now }})
	put(t, s, "a", "value")
	now = now.Add(time.Hour)
	disk.Fail(fails(syscall.EIO, ".seg", errorfs.Datasync))
	if err := s.Put([]byte("b"), nil); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Put: %v", err)
	}
	wantAbsent(t, s, "b")
	wantValue(t, s, "a", "value")
}

func TestWriterInTheGroupOfAFailure(t *testing.T) {
	s, _ := onFaulty(t, tiny(), inject.Seams{Manual: true})
	put(t, s, "a", "value")
	s.syncer.Fail(syscall.EIO) // as if after the writer's check and before it leads
	w := s.writeForTest([]byte("b"), nil)
	s.log.AsLeader(func() { s.log.CommitSome([]*wal.Write{w}) })
	if !errors.Is(w.Err, ErrFailed) {
		t.Errorf("the write: %v", w.Err)
	}
}

func TestGroupThatDoesNotFitIsTriedOneByOne(t *testing.T) {
	o := &Options{SegmentSize: 1 << 20, Sync: fsync.Always}
	s, disk := onFaulty(t, o, inject.Seams{Manual: true})
	put(t, s, "a", "value")
	// The tail cannot grow, so only what fits into it is written.
	disk.Fail(fails(syscall.ENOSPC, ".seg", errorfs.Allocate))
	room := s.log.Tail.File.Active.Allocated() - s.log.Tail.End.Offset
	var members []*wal.Write
	for i := range 3 {
		members = append(members, s.writeForTest(fmt.Append(nil, "key ", i), make([]byte, room*2/3)))
	}
	s.log.AsLeader(func() {
		for len(members) > 0 {
			members = members[s.log.CommitSome(members):]
		}
	})
	wantValue(t, s, "key 0", string(make([]byte, room*2/3)))
	wantAbsent(t, s, "key 1")
	wantAbsent(t, s, "key 2")
	disk.Heal()
	put(t, s, "key 1", "value")
	wantValue(t, s, "key 1", "value")
}

// If loading rebuilds a hint and cannot write it, the segment does not count as damaged. The store
// has failed then, but reads go on.
func TestHintThatOpenCannotWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 300, 100)
	closeStore(t, s)
	remove(t, dir, segment.HintName(2))
	disk, o := errorfs.New(vfs.OS()), byHand()
	inject.Into(o, &inject.Seams{FS: disk})
	disk.Fail(fails(syscall.EIO, ".hint.tmp", errorfs.Create))
	s = open(t, dir, o)
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if err := s.Put(nil, nil); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
		t.Errorf("Put: %v", err)
	}
	wantFilled(t, s, 0, 300, 100)
	s.Close()
	disk.Heal()
	s = open(t, dir, o)
	wantFilled(t, s, 0, 300, 100)
	if r := s.Stats().Recovery; r.HintsRebuilt != 1 {
		t.Errorf("%+v", r)
	}
}

func TestSizeOfAnUnreadableRecordIsNotKnown(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 4 << 20}, inject.Seams{Manual: true})
	long := strings.Repeat("v", 300_000) // too long for the index to hold its size
	put(t, s, "a", long)
	disk.Fail(fails(syscall.EIO, ".seg", errorfs.Read))
	put(t, s, "a", "short")
	disk.Heal()
	wantValue(t, s, "a", "short")
	if live := s.Stats().LiveBytes; live < 300_000 {
		t.Errorf("%d live bytes: what cannot be read counts as it did", live)
	}
}

func TestReserveThatCannotBeCut(t *testing.T) {
	s, disk := onFaulty(t, tiny(), inject.Seams{Manual: true})
	disk.Fail(fails(syscall.EIO, segment.ReserveName, errorfs.Truncate))
	if s.catalog.Reserve.Give(1, 0) {
		t.Error("the reserve gives room that it keeps")
	}
	disk.Heal()
	if !s.catalog.Reserve.Give(1, 0) {
		t.Error("the reserve gives nothing")
	}
	fill(t, s, 0, 25, 100)
	s.catalog.Reserve.Known = false
	disk.Fail(fails(syscall.EMFILE, segment.ReserveName, errorfs.Open))
	if did, err := s.log.StepPrepare(); did || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("preparing a file: %v, %v", did, err)
	}
	disk.Heal()
	if did, err := s.log.StepPrepare(); !did || err != nil {
		t.Errorf("preparing a file once there are descriptors: %v, %v", did, err)
	}
}

func TestEmptyFileThatCannotBeTakenOut(t *testing.T) {
	s, disk := onFaulty(t, tiny(), inject.Seams{Manual: true})
	fill(t, s, 0, 10, 100)
	s.log.AsLeader(func() {
		if err := s.log.Rotate(100, false); err != nil {
			t.Error(err)
		}
	})
	put(t, s, "long", strings.Repeat("v", 10_000)) // this ends the empty file
	disk.Fail(fails(syscall.ENOSPC, segment.ManifestName, errorfs.Write))
	disk.Fail(fails(syscall.ENOSPC, segment.ManifestName+".tmp", errorfs.Create))
	if _, err := s.log.StepSeal(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("taking out an empty file on a full disk: %v", err)
	}
	disk.Heal()
	for did := true; did; {
		var err error
		if did, err = s.log.StepSeal(); err != nil {
			t.Fatal(err)
		}
	}
	wantFilled(t, s, 0, 10, 100)
	closeStore(t, s)
}

func TestBackgroundTriesAgain(t *testing.T) {
	o := tiny()
	o.Compaction.GarbageRatio = 0.05
	var mu sync.Mutex
	failures := 0
	o.Events.CompactionEnded = func(e CompactionEnded) {
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(e.Err, syscall.EMFILE) {
			failures++
		}
	}
	s, disk := onFaulty(t, o, inject.Seams{})
	fill(t, s, 0, 100, 100)
	disk.Fail(fails(syscall.EMFILE, ".seg", errorfs.Create))
	for i := 0; i < 100; i += 3 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil && !errors.Is(err, syscall.EMFILE) {
			t.Fatal(err)
		}
	}
	waitFor(t, "a compaction that fails", func() bool {
		s.log.WakeMaintenance()
		s.compactor.Wake()
		mu.Lock()
		defer mu.Unlock()
		return failures > 0
	})
	disk.Heal()
	fill(t, s, 0, 200, 100)
	wantFilled(t, s, 0, 200, 100)
	if err := s.Compact(context.Background()); err != nil {
		t.Error(err)
	}
	wantFilled(t, s, 0, 200, 100)
}

func TestDamagedManifestIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	put(t, s, "a", "value")
	closeStore(t, s)
	name := filepath.Join(dir, segment.ManifestName)
	for what, content := range map[string]string{"empty": "", "too short": "MMKVMAN", "something else": strings.Repeat("x", 500)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, tiny()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "salvage") {
			t.Errorf("a manifest that is %s: %v", what, err)
		}
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	var batch Batch
	batch.PutWithTTL([]byte("a"), nil, 0)
	batch.PutWithTTL([]byte("b"), nil, -1)
	if err := s.Write(&batch); !errors.Is(err, ErrInvalid) {
		t.Errorf("a batch with a TTL of 0: %v", err)
	}
	for _, compaction := range []Compaction{{GarbageRatio: 2}, {MaxSpaceRatio: 1}, {BytesPerSecond: -1}} {
		if _, err := Open(t.TempDir(), &Options{Compaction: compaction}); !errors.Is(err, ErrInvalid) {
			t.Errorf("Open with %+v: %v", compaction, err)
		}
		o := SalvageOptions{Options: &Options{Compaction: compaction}}
		if _, err := Salvage(t.Context(), t.TempDir(), t.TempDir(), &o); !errors.Is(err, ErrInvalid) {
			t.Errorf("Salvage with %+v: %v", compaction, err)
		}
	}
}

// A file that cannot be prepared ahead is created when it is needed.
func TestNextFileThatCannotBePrepared(t *testing.T) {
	var warned atomic.Int64
	o := tiny()
	o.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("it is tried again")) && bytes.Contains(p, []byte(syscall.EMFILE.Error())) {
			warned.Add(1)
		}
		return len(p), nil
	}), nil))
	s, disk := onFaulty(t, o, inject.Seams{})
	put(t, s, "first", "value")
	disk.Fail(fails(syscall.EMFILE, ".seg", errorfs.Create))
	for i := range 4 {
		put(t, s, fmt.Sprint("key", i), strings.Repeat("v", minSegmentSize/6))
	}
	waitFor(t, "a word of the background", func() bool { return warned.Load() > 0 })
	disk.Heal()
	fill(t, s, 0, 200, 100)
	wantFilled(t, s, 0, 200, 100)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestNewSegmentThatCannotBeLocked(t *testing.T) {
	o := byHand()
	o.LockMemory = true
	inject.Into(o, &inject.Seams{FS: crashfs.New(), Manual: true}) // its disk cannot lock memory
	s := open(t, "/store", o)
	fill(t, s, 0, 100, 100)
	wantFilled(t, s, 0, 100, 100)
}

// filledAndDeleted returns a segment with 1,000 keys and one with their tombstones.
func filledAndDeleted(t *testing.T, s *Store) []*catalog.File {
	t.Helper()
	fill(t, s, 0, 1000, 8)
	s.endForTest(t)
	for i := range 1000 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	s.endForTest(t)
	return compact.FilesOf(s.sealedForTest())
}

func TestCompactionIsCancelledWhileItSeeksShadows(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 256 << 10, Compaction: Compaction{Disabled: true}})
	files := filledAndDeleted(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for what, done := range map[string]int64{"in the run": 0, "in what is older": -files[1].HintBytes.Load()} {
		pacer, end := s.compactor.NewPacer(ctx)
		pacer.Looked = done
		m := s.compactor.RewriteOf(pacer, files[1:])
		if err := m.FindShadows(); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled %s: %v", what, err)
		}
		end()
	}
}

// Compaction rebuilds an open hint whose entries it cannot read. It still finds all
// tombstones and the files that need them.
func TestCompactionThatReadsHalfAHint(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 256 << 10, Compaction: Compaction{Disabled: true}}, inject.Seams{Manual: true})
	files := filledAndDeleted(t, s)
	for what, f := range map[string]*catalog.File{"in the run": files[1], "in what is older": files[0]} {
		rule := fails(syscall.EIO, segment.HintName(f.ID), errorfs.Read)
		match, body := rule.Match, 0
		rule.Match = func(op errorfs.Op) bool {
			const entries = 80 // where the entries begin
			if !match(op) || op.Offset != entries {
				return false
			}
			body++
			return true
		}
		disk.Fail(rule)
		pacer, end := s.compactor.NewPacer(t.Context())
		m := s.compactor.RewriteOf(pacer, files[1:])
		if err := m.FindShadows(); err != nil || body != 1 || len(m.Shadows) != 1000 {
			t.Errorf("cannot be read %s: %d tombstones, %v", what, len(m.Shadows), err)
		}
		end()
		disk.Heal()
		if f.Unreadable.Load() || f.Damaged.Load() {
			t.Errorf("%s: the segment is held to be damaged", what)
		}
		for _, one := range m.Shadows {
			if one.By != files[0].ID {
				t.Fatalf("%s: the tombstone of %q is not needed by the file with the key", what, one.Key)
			}
		}
	}
}

// Unlisted files of a killed writer may be what fills the disk. Open needs room to copy
// what was not synced, and gets it by removing such files.
func TestOpenOnADiskThatALeftFileFills(t *testing.T) {
	disk := crashfs.New()
	o := &Options{SegmentSize: 1 << 20, Sync: fsync.Never}
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s := open(t, "/store", o)
	fill(t, s, 0, 300, 1000)
	disk = disk.Kill()
	if err := disk.SetBytes("/store/"+segment.FileName(s.catalog.NextID()), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity(disk.Used())
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s = open(t, "/store", o)
	wantFilled(t, s, 0, 300, 1000)
	put(t, s, "new", "value")
}

// A failed write ends a compaction, which writes nothing after it. The segment that it
// was reading does not count as damaged.
func TestCompactionThatCannotWriteBlamesNoSegment(t *testing.T) {
	for _, kind := range []errorfs.Kind{errorfs.Create, errorfs.Write} {
		o := &Options{SegmentSize: 1 << 20, Compaction: Compaction{Disabled: true}}
		s, disk := onFaulty(t, o, inject.Seams{Manual: true})
		for range 2 {
			fill(t, s, 0, 800, 1000)
			s.endForTest(t)
			fill(t, s, 0, 400, 1000)
			s.endForTest(t)
		}
		rule := fails(syscall.EIO, ".seg", kind)
		rule.Forever = false
		disk.Fail(rule)
		if err := s.Compact(context.Background()); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: Compact: %v", kind, err)
		}
		stats := s.Stats()
		if stats.Compaction.Runs != 1 {
			t.Errorf("%v: %+v", kind, stats.Compaction)
		}
		for _, f := range stats.Segments {
			if f.Damaged {
				t.Errorf("%v: %s is said to be damaged", kind, f.File)
			}
		}
		wantFilled(t, s, 0, 800, 1000)
	}
}

// A long value is not written while the disk has no room for the reserve, which comes first.
func TestLongValueThatTheReserveHasNoRoomBeside(t *testing.T) {
	dir, disk := t.TempDir(), errorfs.New(vfs.OS())
	o := byHand()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	disk.Fail(fails(syscall.ENOSPC, segment.ReserveName, errorfs.Allocate))
	s := open(t, dir, o)
	key, value := numbered(0, 10*minSegmentSize)
	if err := s.Put(key, value); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
		t.Errorf("Put: %v", err)
	}
	wantAbsent(t, s, string(key))
	if names := segmentFiles(t, dir); len(names) > 0 {
		t.Errorf("there are %v", names)
	}
	disk.Heal()
	fill(t, s, 0, 2, 10*minSegmentSize)
	closeStore(t, s)
	wantFilled(t, open(t, dir, byHand()), 0, 2, 10*minSegmentSize)
}

// If a long value cannot be synced after its header is written, the store has failed.
// Nobody sees the value, whatever part of it is on disk.
func TestLongValueWhoseHeaderCannotBeSynced(t *testing.T) {
	power := crashfs.New()
	disk := errorfs.New(power)
	s := open(t, "/store", optionsOn(disk))
	fill(t, s, 0, 5, 100)
	key, value := numbered(5, 10*minSegmentSize)
	committed := ""
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Write && op.Offset == segment.HeaderSize && strings.HasSuffix(op.Name, ".seg") {
			committed = op.Name // the header comes last
		}
		return op.Kind == errorfs.Datasync && op.Name == committed
	}})
	if err := s.Put(key, value); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Put: %v", err)
	}
	if disk.Fired() != 1 {
		t.Fatalf("%d syncs have failed", disk.Fired())
	}
	wantAbsent(t, s, string(key))
	if err := s.Put([]byte("later"), nil); !errors.Is(err, ErrFailed) {
		t.Errorf("a Put behind the failure: %v", err)
	}
	wantFilled(t, s, 0, 5, 100)
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
	for what, left := range map[string]*crashfs.Disk{
		"kill": power.Kill(), "power cut": power.PowerCut(crashfs.KeepNothing),
	} {
		s := open(t, "/store", optionsOn(errorfs.New(left)))
		wantFilled(t, s, 0, 5, 100)
		if damages := s.Stats().Recovery.Damages; len(damages) > 0 {
			t.Errorf("%s: %v", what, damages)
		}
		if got, err := s.Get(key); !errors.Is(err, ErrNotFound) && !bytes.Equal(got, value) {
			t.Errorf("%s: the value is %.20q, %v", what, got, err)
		}
		closeStore(t, s)
	}
}

// Recovery reopens a truncated file to map it as far as its records went. If the system
// refuses that, Open reports it, keeps nothing open, and leaves the files as they are for
// the next Open.
func TestCutFileThatRecoveryCannotOpenAgain(t *testing.T) {
	power := crashfs.New()
	s := open(t, "/store", optionsOn(errorfs.New(power)))
	key, value := numbered(0, 10*minSegmentSize)
	if err := s.Put(key, value); err != nil {
		t.Fatal(err)
	}
	name := "/store/" + segment.FileName(fileOf(s, key))
	fill(t, s, 1, 5, 100)
	fixture := power.Kill()
	closeStore(t, s)
	content := fixture.Bytes(name)
	if err := fixture.SetBytes(name, content[:len(content)/2]); err != nil {
		t.Fatal(err)
	}

	wantRecovered := func(left *crashfs.Disk) {
		t.Helper()
		s := open(t, "/store", optionsOn(errorfs.New(left)))
		wantFilled(t, s, 1, 5, 100)
		damages := s.Stats().Recovery.Damages
		if len(damages) == 0 || "/store/"+damages[0].File != name {
			t.Errorf("damages: %v", damages)
		}
		if got, err := s.Get(key); err == nil {
			t.Errorf("half of the value is %d bytes", len(got))
		}
		closeStore(t, s)
	}
	wantRecovered(fixture.Clone())
	left := fixture.Clone()
	disk := errorfs.New(left)
	disk.Fail(errorfs.Rule{Err: syscall.EMFILE, Nth: 2, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Open && op.Name == name
	}})
	if _, err := Open("/store", optionsOn(disk)); !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
	if disk.Fired() != 1 {
		t.Fatal("the file was opened once")
	}
	if held := left.Held(); held != 0 {
		t.Errorf("%d of what Open had opened is not closed", held)
	}
	wantRecovered(left)
}
