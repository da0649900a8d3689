package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Each test here fails one call on a hint or a partial hint, the first, then the second, until none is
// left. That shows in an error, or everything is as without it.

// refusals are what the calls fail with.
var refusals = []struct {
	errno syscall.Errno
	kinds []errorfs.Kind
}{
	{syscall.EIO, []errorfs.Kind{errorfs.Open, errorfs.Size, errorfs.Read}},
	{syscall.ENOMEM, []errorfs.Kind{errorfs.Size, errorfs.Read}},
	{syscall.EMFILE, []errorfs.Kind{errorfs.Open}},
}

// The stores of these tests.
const (
	soundStore  = "sound"
	rottenStore = "a record is rotten"       // that of the key rotten
	badHint     = "a partial hint is rotten" // the last one
)

var refusedStores = []string{soundStore, rottenStore, badHint}

// refusedOptions are partialOptions with fewer partial hints.
func refusedOptions(disk vfs.FS) *Options {
	o := partialOptions()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep * 3 / 2})
	return o
}

// refusedStore makes a killed store with a sealed file, which still has its partial hints, and one that
// is not sealed.
func refusedStore(t *testing.T, kind string) (dir string) {
	t.Helper()
	s := open(t, t.TempDir(), refusedOptions(vfs.OS()))
	put(t, s, "rotten", "old")
	fill(t, s, 100, 120, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if writePartials(t, s) == 0 {
		t.Fatal("no partial hint was written")
	}
	left := copyDir(t, s.path)
	s.endForTest(t)
	file, offset := putUnderPartial(t, s)
	dir = killed(t, s, s.path)
	closeStore(t, s)
	for _, name := range partialFiles(t, left) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	switch kind {
	case rottenStore:
		invertByte(t, filepath.Join(dir, file), offset+4)
	case badHint:
		names := partialFiles(t, dir)
		invertByte(t, names[len(names)-1], 20)
	}
	return dir
}

// wantRefused checks what a store has. A read may fail with errno. known says that the partial hint
// which knows of the rotten record could be read, or can be read again.
func wantRefused(t *testing.T, s *Store, kind string, errno syscall.Errno, known bool) {
	t.Helper()
	for i := range 120 {
		if i >= 40 && i < 100 {
			continue
		}
		key, want := numbered(i, 100)
		if value, err := s.Get(key); !errors.Is(err, errno) && (err != nil || !bytes.Equal(value, want)) {
			t.Errorf("key %d: %q, %v", i, value, err)
		}
	}
	value, err := s.Get([]byte("rotten"))
	switch {
	case errors.Is(err, errno):
	case kind != rottenStore:
		if err != nil || string(value) != strings.Repeat("new", 10) {
			t.Errorf("rotten: %q, %v", value, err)
		}
	case known && !errors.Is(err, ErrCorrupt):
		t.Errorf("the damaged record: %q, %v", value, err)
	}
}

// eachRefusal calls run with disks of which one call on a file that matches fails, until none has
// failed.
func eachRefusal(t *testing.T, match func(name string) bool, run func(t *testing.T, disk *errorfs.Disk, errno syscall.Errno)) {
	t.Helper()
	for _, r := range refusals {
		for nth := 1; ; nth++ {
			disk := errorfs.New(vfs.OS())
			disk.Fail(errorfs.Rule{Err: r.errno, Nth: nth, Match: func(op errorfs.Op) bool {
				return slices.Contains(r.kinds, op.Kind) && match(filepath.Base(op.Name))
			}})
			if !t.Run(fmt.Sprintf("call %d: %v", nth, r.errno), func(t *testing.T) { run(t, disk, r.errno) }) {
				return
			}
			if disk.Fired() == 0 {
				if nth == 1 {
					t.Fatal("there was no call to fail")
				}
				break
			}
		}
	}
}

// isHint reports whether a file is a hint or a partial one.
func isHint(name string) bool {
	return strings.Contains(name, ".part") || strings.HasSuffix(name, ".hint")
}

func TestOpenIsRefusedOneHint(t *testing.T) {
	for _, kind := range refusedStores {
		from := refusedStore(t, kind)
		for _, readOnly := range []bool{true, false} {
			if readOnly && kind != rottenStore {
				continue // it reads the same
			}
			eachRefusal(t, isHint, func(t *testing.T, disk *errorfs.Disk, errno syscall.Errno) {
				dir, known := copyDir(t, from), errno != syscall.EIO
				o := refusedOptions(disk)
				o.ReadOnly = readOnly
				s, err := Open(dir, o)
				if err != nil && !errors.Is(err, errno) {
					t.Errorf("%s, read-only %v: Open: %v", kind, readOnly, err)
				}
				if err == nil {
					wantRefused(t, s, kind, errno, known)
					for did := !readOnly; did && err == nil; {
						did, err = s.log.StepHint()
					}
					if err = errors.Join(err, s.Close()); err != nil && !errors.Is(err, errno) {
						t.Errorf("%s, read-only %v: %v", kind, readOnly, err)
					}
				}
				after := open(t, dir, refusedOptions(vfs.OS()))
				wantRefused(t, after, kind, 0, known)
				closeStore(t, after)
				if r := verified(t, dir); kind == rottenStore && len(r.Damages) == 0 {
					t.Error("Verify does not report the rotten record any more")
				}
			})
		}
	}
}

func TestVerifyIsRefusedOneHint(t *testing.T) {
	match := func(name string) bool { return isHint(name) || name == segment.ManifestName }
	for _, kind := range refusedStores {
		dir := refusedStore(t, kind)
		want := verified(t, dir)
		eachRefusal(t, match, func(t *testing.T, disk *errorfs.Disk, errno syscall.Errno) {
			r, err := verifyThrough(t, t.Context(), disk, dir)
			if err != nil {
				if !errors.Is(err, errno) || len(r.Damages) > len(want.Damages) {
					t.Errorf("%s: %+v, %v", kind, r.Damages, err)
				}
			} else if !reflect.DeepEqual(r.Damages, want.Damages) && (errno != syscall.EIO || len(r.Damages) == 0) {
				t.Errorf("%s: %+v, not %+v", kind, r.Damages, want.Damages)
			}
		})
	}
}

func TestSalvageIsRefusedOneHint(t *testing.T) {
	for _, kind := range refusedStores {
		for _, manifest := range []bool{true, false} {
			from := refusedStore(t, kind)
			if !manifest {
				remove(t, from, segment.ManifestName)
			}
			_, want := salvaged(t, from, nil)
			eachRefusal(t, isHint, func(t *testing.T, disk *errorfs.Disk, errno syscall.Errno) {
				to, known := filepath.Join(t.TempDir(), "to"), errno != syscall.EIO
				report, err := salvageOn(t, disk, from, to)
				if err != nil {
					if !errors.Is(err, errno) {
						t.Errorf("%s, manifest %v: %v", kind, manifest, err)
					}
					return
				}
				if known && (report.Keys != want.Keys || report.KeysLost != want.KeysLost) || report.Complete() != want.Complete() {
					t.Errorf("%s, manifest %v: %+v, not %+v", kind, manifest, report, want)
				}
				s := open(t, to, refusedOptions(vfs.OS()))
				wantFilled(t, s, 0, 40, 100)
				wantFilled(t, s, 100, 120, 100)
				if kind != rottenStore {
					wantValue(t, s, "rotten", strings.Repeat("new", 10))
				} else if known {
					wantAbsent(t, s, "rotten")
				}
				closeStore(t, s)
			})
		}
	}
}
