package mmapkv

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Partial hints may be all that tells of damage. So an Open that lacks descriptors for them fails, and
// cuts nothing off. The next one knows all again.
func TestOpenWithoutDescriptorsForPartialHints(t *testing.T) {
	for _, cut := range []bool{false, true} {
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
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
			ends := partialEnds(t, s.path)
			dir := killed(t, s, s.path)
			closeStore(t, s)
			if cut {
				if err := os.Truncate(filepath.Join(dir, file), ends[len(ends)-2].Offset-8); err != nil {
					t.Fatal(err)
				}
			} else {
				invertByte(t, filepath.Join(dir, file), rotten.Offset()+4)
			}
			for _, readOnly := range []bool{true, false} {
				disk := errorfs.New(vfs.OS())
				disk.Fail(errorfs.Rule{Err: errno, Forever: true, Match: func(op errorfs.Op) bool {
					return op.Kind == errorfs.Open && strings.HasSuffix(op.Name, ".part1")
				}})
				o := partialOptions()
				o.ReadOnly = readOnly
				inject.Into(o, &inject.Seams{FS: disk, Manual: true, Hold: true, PartStep: partialStep})
				if s, err := Open(dir, o); !errors.Is(err, errno) {
					t.Errorf("cut %v, read-only %v: Open: %v", cut, readOnly, err)
					s.Close()
				}
			}
			s = open(t, dir, partialOptions())
			if value, err := s.Get([]byte("rotten")); !cut && !errors.Is(err, ErrCorrupt) {
				t.Errorf("the damaged record: %q, %v", value, err)
			}
			if cut && len(s.Stats().Recovery.Damages) == 0 {
				t.Error("Open has cut the file without a word")
			}
			closeStore(t, s)
		}
	}
}

// A tail that goes on keeps its partial hints if they cannot be opened for want of descriptors.
func TestPartialHintsStayWithoutDescriptors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, partialOptions())
	fill(t, s, 0, 50, 40)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	closeStore(t, s)
	before := partialEnds(t, dir)
	disk := errorfs.New(vfs.OS())
	o := partialOptions()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, PartStep: partialStep})
	s = open(t, dir, o)
	disk.Fail(errorfs.Rule{Err: syscall.EMFILE, Forever: true, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Open && strings.Contains(op.Name, ".part")
	}})
	fill(t, s, 50, 100, 40)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	disk.Heal()
	writePartials(t, s)
	after := partialEnds(t, dir)
	if len(before) == 0 || len(after) <= len(before) || !slices.Equal(after[:len(before)], before) {
		t.Errorf("%v became %v", before, after)
	}
}
