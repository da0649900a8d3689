package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// A compaction whose context has ended seals nothing.
func TestNothingIsSealedOnceTheContextHasEnded(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "old")
	put(t, s, "key", "new")
	f := s.log.Tail.File
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.compactor.SealGarbage(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("SealGarbage: %v", err)
	}
	if _, sealed := s.catalog.Files.SealedEnd(f); sealed || s.log.Tail.File != f {
		t.Error("the tail was sealed")
	}
	compactAll(t, s)
	if s.log.Tail.File == f {
		t.Error("the tail holds garbage and was not sealed")
	}
	wantValue(t, s, "key", "new")
}

// The disk refuses to read a long value that a compaction copies. Nothing is lost, and the next
// compaction copies it.
func TestCompactCannotReadALongValue(t *testing.T) {
	o := byHand()
	o.SegmentSize = 4 << 20
	s, disk := onFaulty(t, o, inject.Seams{Manual: true})
	long := string(bytes.Repeat([]byte("long "), 200_000))
	put(t, s, "garbage", long)
	put(t, s, "garbage", "short")
	put(t, s, "long", long)
	s.endForTest(t)
	before := segmentFiles(t, s.path)
	refuses := errorfs.Rule{Err: syscall.EIO, Forever: true, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Read && strings.HasSuffix(op.Name, ".seg") && op.Length > int64(len(long))
	}}
	disk.Fail(refuses)
	if err := s.Compact(t.Context()); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrFailed) {
		t.Errorf("Compact: %v", err)
	}
	if disk.Fired() == 0 {
		t.Error("the long value was not read")
	}
	if after := segmentFiles(t, s.path); !strings.Contains(strings.Join(after, " "), before[0]) {
		t.Errorf("%q became %q", before, after)
	}
	disk.Heal()
	for range 2 {
		wantValue(t, s, "long", long)
		wantValue(t, s, "garbage", "short")
		compactAll(t, s)
	}
	if bytes, _ := diskUse(t, s.path); bytes > int64(len(long))*3/2 {
		t.Errorf("%d bytes are left", bytes)
	}
}

// Each sync of the directory in turn fails while a recovery copies what may not be on disk. Open returns
// the error, and the next Open recovers all.
func TestRecoveryCannotSyncTheDirectory(t *testing.T) {
	power := crashfs.New()
	o := byHand()
	o.Sync = fsync.Never
	inject.Into(o, &inject.Seams{FS: power, Manual: true})
	s := open(t, "/store", o)
	fill(t, s, 0, 30, 100)
	crashed := power.Kill()
	closeStore(t, s)
	failed := 0
	for nth := 1; ; nth++ {
		power := crashed.Clone()
		disk := errorfs.New(power)
		disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.SyncDir), Err: syscall.EIO, Nth: nth})
		s, err := Open("/store", optionsOn(disk))
		fired := disk.Fired() > 0
		disk.Heal()
		if err == nil {
			closeStore(t, s)
		}
		if !fired {
			break
		}
		if failed++; !errors.Is(err, syscall.EIO) {
			t.Errorf("sync %d: Open: %v", nth, err)
		}
		if held := power.Held(); held != 0 {
			t.Errorf("sync %d: %d of what Open had opened is not closed", nth, held)
		}
		s = open(t, "/store", optionsOn(disk))
		wantFilled(t, s, 0, 30, 100)
		closeStore(t, s)
	}
	if failed < 2 {
		t.Errorf("%d syncs failed", failed)
	}
}

// The hint of a recovered file with a damaged record cannot be written for want of descriptors to open
// its partial hints, which alone know of it. They stay, and so does what they know.
func TestHintIsLeftOutWithoutItsPartialHints(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	put(t, s, "rotten", "old")
	s.endForTest(t)
	fill(t, s, 0, 20, 100)
	put(t, s, "rotten", "new")
	rotten := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("rotten")))
	file := segment.FileName(s.catalog.Set().File(rotten).ID)
	fill(t, s, 20, 40, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	dir := killed(t, s, s.path)
	closeStore(t, s)
	invertByte(t, filepath.Join(dir, file), rotten.Offset()+4)
	disk, o := errorfs.New(vfs.OS()), partialOptions()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep})
	s = open(t, dir, o)
	before := len(partialFiles(t, dir))
	disk.Fail(errorfs.Rule{Err: syscall.EMFILE, Forever: true, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Open && strings.Contains(op.Name, ".part")
	}})
	for did := true; did; {
		var err error
		if did, err = s.log.StepHint(); err != nil {
			t.Fatal(err)
		}
	}
	if after := len(partialFiles(t, dir)); disk.Fired() == 0 || after != before || before == 0 {
		t.Errorf("of %d partial hints %d are left", before, after)
	}
	disk.Heal()
	closeStore(t, s)
	s = open(t, dir, partialOptions())
	if value, err := s.Get([]byte("rotten")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the damaged record: %q, %v", value, err)
	}
	wantFilled(t, s, 0, 40, 100)
}
