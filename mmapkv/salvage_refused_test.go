package mmapkv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Each test here fails one call of a Salvage. It checks that Salvage reports that or does
// without the call, leaves its source as it was, and copies all once the fault is over.

// salvageOn salvages a directory through a disk, and checks what that leaves.
func salvageOn(t *testing.T, disk vfs.FS, from, to string) (SalvageReport, error) {
	t.Helper()
	before := directoryListing(t, from)
	o := &SalvageOptions{Options: &Options{SegmentSize: 256 << 10}}
	inject.Into(o.Options, &inject.Seams{FS: disk})
	report, err := Salvage(t.Context(), from, to, o)
	if after := directoryListing(t, from); after != before {
		t.Errorf("Salvage has changed the directory:\n%s\nwas\n%s", after, before)
	}
	if err == nil {
		return report, nil
	}
	entries, readErr := os.ReadDir(to)
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		t.Fatal(readErr)
	}
	for _, e := range entries {
		if e.Name() != segment.LockName {
			t.Errorf("a Salvage that failed leaves %s", e.Name())
		}
	}
	return report, err
}

// wantBroughtOver salvages without a fault into the directory where a Salvage failed.
func wantBroughtOver(t *testing.T, from, to string, keys int) {
	t.Helper()
	report, err := salvageOn(t, vfs.OS(), from, to)
	if err != nil || report.Keys != keys {
		t.Fatalf("Salvage brings %d of %d keys over: %v", report.Keys, keys, err)
	}
	wantComplete(t, report)
	wantFilled(t, open(t, to, nil), 0, keys, 100)
}

func TestSalvageWhereTheSizeOfTheLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	from, to := killed(t, s, dir), filepath.Join(t.TempDir(), "to")
	tail := ""
	for _, info := range manifestOf(t, from).Segments {
		if !info.Sealed {
			tail = filepath.Join(from, segment.FileName(info.ID))
		}
	}
	disk := errorfs.New(vfs.OS())
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Nth: 2, Match: func(op errorfs.Op) bool { // the first is for its header
		return op.Kind == errorfs.Size && op.Name == tail
	}})
	if _, err := salvageOn(t, disk, from, to); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), tail) {
		t.Errorf("Salvage: %v", err)
	}
	if disk.Fired() != 1 {
		t.Fatal("the size was asked for once")
	}
	wantBroughtOver(t, from, to, 100)
}

// If a record was whole when it was found, and the disk cannot read it when it is copied,
// only that record is lost. It is counted, though its key can no longer be told.
func TestSalvageOfARecordThatIsRefusedLater(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	s := open(t, from, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	info := manifestOf(t, from).Segments[0]
	lost := entriesOf(t, from, info)[3]
	name := filepath.Join(from, segment.FileName(info.ID))
	copying := false
	disk := errorfs.New(vfs.OS())
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Forever: true, Match: func(op errorfs.Op) bool {
		if op.Kind != errorfs.Read || op.Name != name || op.Offset != lost.Offset {
			return false
		}
		if !copying {
			copying = op.Length == segment.RecordHeaderSize // to find its length
			return false
		}
		return true
	}})
	report, err := salvageOn(t, disk, from, to)
	if err != nil || disk.Fired() == 0 {
		t.Fatalf("Salvage: %v, %d reads refused", err, disk.Fired())
	}
	if report.Records != 100 || report.Keys != 99 || report.KeysLost != 1 || report.Complete() {
		t.Errorf("%+v", report)
	}
	if len(report.LostKeys) != 0 {
		t.Errorf("lost is %+v", report.LostKeys)
	}
	s = open(t, to, nil)
	wantFilled(t, s, 0, 3, 100)
	wantFilled(t, s, 4, 100, 100)
	wantAbsent(t, s, string(lost.Key))
}

func TestSalvageToWhatCannotBeListed(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	s := open(t, from, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	disk := errorfs.New(vfs.OS())
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Names && op.Name == to
	}})
	report, err := salvageOn(t, disk, from, to)
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), to) || report.Files != 0 {
		t.Errorf("Salvage: %v, %+v", err, report)
	}
	wantBroughtOver(t, from, to, 100)
}

// stuckLockFS makes shared locks of one directory fail to unlock.
type stuckLockFS struct {
	vfs.FS
	path  string
	stuck atomic.Int64 // how many unlocks failed
}

func (d *stuckLockFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	if err != nil || path != d.path {
		return dir, err
	}
	return stuckLockDir{dir, d}, nil
}

type stuckLockDir struct {
	vfs.Dir
	disk *stuckLockFS
}

func (d stuckLockDir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	lock, err := d.Dir.Lock(name, mode)
	if err != nil || mode != vfs.Shared {
		return lock, err
	}
	return stuckLock{lock, d.disk}, nil
}

type stuckLock struct {
	vfs.Lock
	disk *stuckLockFS
}

func (l stuckLock) Unlock() error {
	l.disk.stuck.Add(1)
	return errors.Join(l.Lock.Unlock(), syscall.ENOLCK)
}

// Salvage opens the store that it has written once more, for reading. If that store cannot
// be closed, Salvage returns an error.
func TestSalvageWhoseCheckCannotBeClosed(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	s := open(t, from, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	disk := &stuckLockFS{FS: vfs.OS(), path: to}
	if _, err := salvageOn(t, disk, from, to); !errors.Is(err, syscall.ENOLCK) || disk.stuck.Load() != 1 {
		t.Errorf("Salvage: %v, %d locks were not given back", err, disk.stuck.Load())
	}
	wantBroughtOver(t, from, to, 100)
}

// Salvage does not read a file that is longer than the store ever makes it. Such a file may
// have holes, and need far more memory than disk space.
func TestSalvageReadsNoFileThatIsTooLong(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	for _, name := range []string{segment.ManifestName, segment.HintName(1)} {
		if err := os.Truncate(filepath.Join(dir, name), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	report, err := Salvage(t.Context(), dir, "", &SalvageOptions{DryRun: true})
	runtime.ReadMemStats(&after)
	if err != nil || report.Manifest || report.Keys != 100 {
		t.Errorf("%d keys, manifest %v: %v", report.Keys, report.Manifest, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("Salvage took %d MB of memory", took>>20)
	}
}
