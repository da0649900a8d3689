package mmapkv

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
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

// These tests overwrite a key, let the newer record rot under a partial hint, and let a whole hint be
// missing or out of date. The key must stay damaged: what is before must not come back.

// putUnderPartial overwrites a key, and writes a partial hint of the newer record. It returns the file
// and the place of that.
func putUnderPartial(t *testing.T, s *Store) (file string, offset int64) {
	t.Helper()
	fill(t, s, 0, 20, 100)
	put(t, s, "rotten", strings.Repeat("new", 10))
	at := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("rotten")))
	fill(t, s, 20, 40, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if writePartials(t, s) == 0 {
		t.Fatal("no partial hint was written")
	}
	return segment.FileName(s.catalog.Set().File(at).ID), at.Offset()
}

// wantRotten checks that the key is damaged, and all others are there.
func wantRotten(t *testing.T, s *Store, when string) {
	t.Helper()
	wantFilled(t, s, 0, 40, 100)
	if value, err := s.Get([]byte("rotten")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%s: %q, %v", when, value, err)
	}
}

// The hint that Close wrote is of fewer records than the file has when a recovery seals it. So partial
// hints stay until there is a hint of all of them.
func TestPartialHintsStayBesideAnOldHint(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, partialOptions())
	put(t, s, "rotten", "old")
	s.endForTest(t)
	put(t, s, "first", "value")
	closeStore(t, s) // writes the hint of the tail
	s = open(t, dir, partialOptions())
	file, offset := putUnderPartial(t, s)
	dir = killed(t, s, dir)
	invertByte(t, filepath.Join(dir, file), offset)
	for range 2 {
		s = open(t, dir, partialOptions())
		wantRotten(t, s, "recovered")
		dir = killed(t, s, dir) // before the background has written the hint
	}
	s = open(t, dir, partialOptions())
	wantRotten(t, s, "opened again")
	finishHints(t, s, dir)
	closeStore(t, s)
	wantRotten(t, open(t, dir, partialOptions()), "with its hint")
}

// A file may be sealed, or its hint rebuilt, while the disk has no room for the hint.
func TestPartialHintsStayWithoutAHint(t *testing.T) {
	disk := errorfs.New(vfs.OS())
	options := func() *Options {
		o := partialOptions()
		inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep})
		return o
	}
	full := fails(syscall.ENOSPC, ".hint.tmp", errorfs.Create)
	s := open(t, t.TempDir(), options())
	put(t, s, "rotten", "old")
	s.endForTest(t)
	file, offset := putUnderPartial(t, s)
	disk.Fail(full)
	s.endForTest(t)
	dir := killed(t, s, s.path)
	invertByte(t, filepath.Join(dir, file), offset)
	s = open(t, dir, options())
	wantRotten(t, s, "sealed without a hint")
	s = open(t, killed(t, s, dir), options())
	wantRotten(t, s, "rebuilt without room")
	disk.Heal()
	s = open(t, killed(t, s, s.path), options())
	wantRotten(t, s, "rebuilt")
	finishHints(t, s, s.path)
}

// A partial hint that goes again, because its file was sealed or the disk full meanwhile, no longer
// counts as space.
func TestPartialHintThatGoesAgainTakesNoSpace(t *testing.T) {
	for _, what := range []string{"sealed", "full"} {
		disk, o := crashfs.New(), partialOptions()
		inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep})
		s := open(t, "/store", o)
		fill(t, s, 0, 40, 100)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		f, met := s.log.Tail.File, false
		isPartial := func(name string) bool { return strings.Contains(name, ".part") }
		disk.OnCall = func(_ int, op crashfs.Op) {
			if met || op.Kind != crashfs.Rename || !isPartial(op.Name) {
				return
			}
			met = true
			if what == "sealed" {
				s.endForTest(t)
			} else {
				s.log.DropPartials()
			}
		}
		if _, err := s.log.StepPartial(); err != nil {
			t.Fatal(err)
		}
		if left := slices.ContainsFunc(disk.Files(), isPartial); !met || left || f.PartialBytes.Load() != 0 {
			t.Errorf("%s: met %v, left %v, counts as %d bytes", what, met, left, f.PartialBytes.Load())
		}
	}
}

// An Open after a clean close makes no segment, and leaves the manifest clean, although the tail is half
// full: the next file is prepared once there is a write.
func TestCleanOpenPreparesNoFile(t *testing.T) {
	disk := crashfs.New()
	o := &Options{SegmentSize: 4 << 10, Sync: fsync.Never}
	inject.Into(o, &inject.Seams{FS: disk})
	s := open(t, "/store", o)
	for i := range 3 {
		put(t, s, fmt.Sprint(i), strings.Repeat("v", 900))
	}
	closeStore(t, s)
	disk.OnCall = func(_ int, op crashfs.Op) {
		if strings.Contains(op.Name, ".seg") || strings.Contains(op.Name, segment.ManifestName) {
			t.Error(op)
		}
	}
	for range 50 {
		s := open(t, "/store", o)
		for range 100 {
			runtime.Gosched()
			wantValue(t, s, "1", strings.Repeat("v", 900))
		}
		closeStore(t, s)
	}
}

// That holds also if the disk is full before the background has looked at the file for the first time.
func TestPartialHintsAreDroppedForRoomAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, partialOptions())
	fill(t, s, 0, 100, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	closeStore(t, s)
	s = open(t, dir, partialOptions())
	if !s.compactor.MakeRoom() || len(partialFiles(t, dir)) > 0 {
		t.Errorf("%q are left", partialFiles(t, dir))
	}
	fill(t, s, 100, 200, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := writePartials(t, s); n > 0 {
		t.Errorf("%d partial hints were written afterwards", n)
	}
}

// A failed sync says that nobody knows what the disk holds. No partial hint is published afterwards,
// not even one that was being written.
func TestNoPartialHintAfterAFailedSync(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Never} {
		disk := errorfs.New(vfs.OS())
		o := partialOptions()
		o.Sync = policy
		inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep})
		s := open(t, t.TempDir(), o)
		fill(t, s, 0, 40, 100)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		met := false
		disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
			if op.Kind == errorfs.Read && strings.HasSuffix(op.Name, ".seg") {
				met = true
				s.syncer.Fail(syscall.EIO)
			}
			return false
		}})
		if _, err := s.log.StepPartial(); !errors.Is(err, ErrFailed) || !met || len(partialFiles(t, s.path)) > 0 {
			t.Errorf("%v: %v, failed meanwhile: %v, %q", policy, err, met, partialFiles(t, s.path))
		}
	}
}
