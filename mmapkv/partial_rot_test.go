package mmapkv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// rotUnnoticed changes a byte of a partial hint of the store's first file that Open does not read.
func rotUnnoticed(t *testing.T, dir, name string) {
	t.Helper()
	header, err := os.ReadFile(filepath.Join(dir, segment.FileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		data[at] ^= 0xff
		p, err := segment.OpenPartial(bytes.NewReader(data), int64(len(data)), 1, binary.LittleEndian.Uint64(header[24:]), nil)
		if err == nil {
			for _, err := range p.Entries() {
				if err != nil {
					if err := os.WriteFile(name, data, 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
		}
		data[at] ^= 0xff
	}
	t.Fatalf("Open reads all of %s", name)
}

// partlyHinted makes a killed store whose keys, key0 to key59, lie in one file that has partial hints.
// Those with the given numbers are rotten in a way that Open does not notice.
func partlyHinted(t *testing.T, rotten ...int) (dir string, at func(i int) int64) {
	t.Helper()
	s := open(t, t.TempDir(), partialOptions())
	var offsets []int64
	for i := range 60 {
		if i > 0 {
			offsets = append(offsets, s.log.Tail.End.Offset)
		} else {
			offsets = append(offsets, segment.HeaderSize)
		}
		put(t, s, fmt.Sprint("key", i), strings.Repeat("v", 100))
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	writePartials(t, s)
	dir = killed(t, s, s.path)
	closeStore(t, s)
	names := partialFiles(t, dir)
	for _, n := range rotten {
		rotUnnoticed(t, dir, names[n])
	}
	return dir, func(i int) int64 { return offsets[i] }
}

// Several partial hints of a file rot, and a record: the file is loaded as a whole. Its damage is
// reported once, and its hint counts once.
func TestPartialHintsOfAFileRotTogether(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		dir, at := partlyHinted(t, 1, 2, 4)
		invertByte(t, filepath.Join(dir, segment.FileName(1)), at(20)+4)
		o := partialOptions()
		o.ReadOnly = readOnly
		s := open(t, dir, o)
		stats := s.Stats().Recovery
		if len(stats.Damages) != 1 || stats.HintsRebuilt != 1 {
			t.Errorf("read-only %v: %+v", readOnly, stats)
		}
		f := s.catalog.Set().Order[0]
		if due, is := f.HintDue.Load(), f.HintBytes.Load(); due > is && !readOnly {
			t.Errorf("a hint of %d bytes counts as %d", is, due)
		}
		checkAccounts(t, s)
		closeStore(t, s)
	}
}

// On a full disk the hint that would replace the partial hints cannot be written, whether by loading
// or by sealing. They stay then: they know of a record that cannot be read.
func TestPartialHintsStayIfTheHintDoesNotFit(t *testing.T) {
	for _, sealing := range []bool{false, true} {
		dir, at := partlyHinted(t, 1)
		disk := errorfs.New(vfs.OS())
		o := partialOptions()
		inject.Into(o, &inject.Seams{FS: disk, Manual: true, Hold: true, PartStep: partialStep})
		noRoom := errorfs.Only(errorfs.Create)
		disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Forever: true, Match: func(op errorfs.Op) bool {
			return noRoom(op) && strings.Contains(op.Name, ".hint")
		}})
		if sealing {
			dir = t.TempDir()
		} else {
			invertByte(t, filepath.Join(dir, segment.FileName(1)), at(30)+4)
		}
		s := open(t, dir, o)
		if sealing {
			fill(t, s, 0, 60, 100)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			writePartials(t, s)
		}
		before := len(partialFiles(t, dir))
		if sealing {
			s.endForTest(t)
		} else if err := s.Ready(t.Context()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Ready: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, segment.HintName(1))); err == nil {
			t.Fatal("there is a hint")
		}
		if after := len(partialFiles(t, dir)); after != before || before == 0 {
			t.Errorf("sealing %v: there is no hint, and of %d partial hints %d are left", sealing, before, after)
		}
		disk.Heal()
		closeStore(t, s)
		s = open(t, dir, partialOptions())
		if left := partialFiles(t, dir); len(left) > 0 {
			t.Errorf("sealing %v: the next Open has rebuilt the hint, and %q are left", sealing, left)
		}
		closeStore(t, s)
	}
}

// A key has a version in each of several partial hints, which are loaded one by one from the oldest
// on. Reads find the youngest, or that it was deleted.
func TestYoungerVersionInTheSameFileWhileTheIndexLoads(t *testing.T) {
	s := open(t, t.TempDir(), partialOptions())
	for i := range 10 {
		put(t, s, "changes", fmt.Sprint(i))
		put(t, s, "goes", fmt.Sprint(i))
		if i == 9 {
			if err := s.Delete([]byte("goes")); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, s, 10*i, 10*i+10, 100)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		writePartials(t, s)
	}
	o := partialOptions()
	inject.Into(o, &inject.Seams{Manual: true, Hold: true, PartStep: partialStep})
	after := open(t, killed(t, s, s.path), o)
	steps := 0
	for ; after.Stats().Loading; steps++ {
		wantValue(t, after, "changes", "9")
		wantAbsent(t, after, "goes")
		if _, err := after.loading.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if steps < 10 {
		t.Errorf("the index was loaded in %d steps", steps)
	}
	wantValue(t, after, "changes", "9")
	wantAbsent(t, after, "goes")
	checkAccounts(t, after)
}
