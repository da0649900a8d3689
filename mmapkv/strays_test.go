package mmapkv

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// The manifest of this test seals file 3 at number 100 and lists file 5 as unsealed.
// Numbers up to 150 and ids below 8 have been given out.
func TestIsNewer(t *testing.T) {
	m := &segment.Manifest{NextID: 8, LastSeq: 150, SealedSeq: 100, Segments: []segment.SegmentInfo{
		{ID: 3, Sealed: true, End: segment.End{Seq: 100}}, {ID: 5}}}
	for _, c := range []struct {
		what  string
		h     segment.Header
		seq   uint64
		newer bool
	}{
		{"made, and never listed", segment.Header{ID: 8, Kind: segment.Log}, 0, false},
		{"sealed and then compacted", segment.Header{ID: 2, Kind: segment.Log}, 90, false},
		{"of a later session, and old", segment.Header{ID: 9, Kind: segment.Log}, 100, false},
		{"an announced copy", segment.Header{ID: 7, Kind: segment.Log}, 150, false},
		{"the same id, and the log has gone on", segment.Header{ID: 7, Kind: segment.Log}, 151, true},
		{"a copy that was not announced", segment.Header{ID: 8, Kind: segment.Log}, 101, true},
		{"a later file", segment.Header{ID: 12, Kind: segment.Log}, math.MaxUint64, true},
		{"a compaction that did not finish", segment.Header{ID: 8, Kind: segment.Merged, Replaces: []segment.ID{3}}, 0, false},
		{"a compacted output", segment.Header{ID: 4, Kind: segment.Merged, Replaces: []segment.ID{1, 2}}, 0, false},
		{"merged of a file that is not sealed yet", segment.Header{ID: 9, Kind: segment.Merged, Replaces: []segment.ID{3, 5}}, 0, true},
		{"merged of a file that is not known", segment.Header{ID: 9, Kind: segment.Merged, Replaces: []segment.ID{3, 8}}, 0, true},
	} {
		if got := listing.IsNewer(m, c.h, c.seq); got != c.newer {
			t.Errorf("%s: newer %v", c.what, got)
		}
	}
}

// strayStore is a closed store and its manifest.
func strayStore(t *testing.T) (dir string, m *segment.Manifest) {
	dir = quickDir(t)
	s := open(t, dir, byHand())
	fill(t, s, 0, 50, 100)
	closeStore(t, s)
	return dir, manifestOf(t, dir)
}

// stray makes a file of a header and the bytes behind it.
func stray(t *testing.T, dir string, h segment.Header, behind []byte) string {
	t.Helper()
	name := segment.FileName(h.ID)
	replaceBytes(t, dir, name, append(h.Append(nil), behind...))
	return name
}

// recordAt is one record at the start of a file, with the number seq and a value of
// size bytes.
func recordAt(h segment.Header, seq uint64, size int) []byte {
	var d segment.Draft
	d.Put([]byte("a stray"), make([]byte, size), 0)
	return d.Finish(segment.Placement{Salt: h.Salt, Offset: h.Size(), Seq: seq})
}

// TestLeftoversOfCrashesGo: Open removes an unlisted file, whatever is in it, unless it
// holds data that the manifest does not know.
func TestLeftoversOfCrashesGo(t *testing.T) {
	for what, leave := range map[string]func(t *testing.T, dir string, m *segment.Manifest, h segment.Header){
		"empty": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			replaceBytes(t, dir, segment.FileName(h.ID), nil)
		},
		"only zeros": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			replaceBytes(t, dir, segment.FileName(h.ID), make([]byte, 5000))
		},
		"no records": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			stray(t, dir, h, make([]byte, 4096))
		},
		"an old record": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			stray(t, dir, h, recordAt(h, m.SealedSeq, 10))
		},
		"a long value without its header": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			stray(t, dir, h, append(make([]byte, 100), noise(1, 2*listing.FirstRecords)...))
		},
		"blocks of a listed file": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			replaceBytes(t, dir, segment.FileName(h.ID), bytesOf(t, dir, segment.FileName(m.Segments[len(m.Segments)-1].ID)))
		},
		"a compaction that did not finish": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			h.Kind, h.Replaces = segment.Merged, []segment.ID{m.Segments[0].ID}
			stray(t, dir, h, recordAt(h, 1, 10))
		},
		"a directory": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) {
			if err := os.Mkdir(filepath.Join(dir, segment.FileName(h.ID)), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m := strayStore(t)
			h := segment.Header{ID: m.NextID, Salt: 77, Kind: segment.Log}
			leave(t, dir, m, h)
			wantSound(t, verified(t, dir))
			s := open(t, dir, byHand())
			wantFilled(t, s, 0, 50, 100)
			info, err := os.Lstat(filepath.Join(dir, segment.FileName(h.ID)))
			if !errors.Is(err, os.ErrNotExist) && !info.IsDir() {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

// TestNewerDataIsNamed: a file with a record that the manifest does not know stays, and
// Open, Verify and Salvage name it.
func TestNewerDataIsNamed(t *testing.T) {
	for what, leave := range map[string]func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string{
		"a record": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string {
			return stray(t, dir, h, recordAt(h, m.LastSeq+1, 10))
		},
		"a long value": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string {
			return stray(t, dir, h, recordAt(h, m.LastSeq+1, 3*listing.FirstRecords))
		},
		"a record in a file whose header is damaged": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string {
			name := stray(t, dir, h, recordAt(h, m.LastSeq+1, 10))
			flipAt(t, dir, name, 0)
			return name
		},
		"a record behind one that is damaged": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string {
			var d segment.Draft
			d.Put([]byte("first"), nil, 0)
			d.Put([]byte("second"), nil, 0)
			name := stray(t, dir, h, d.Finish(segment.Placement{Salt: h.Salt, Offset: h.Size(), Seq: m.LastSeq + 1}))
			flipAt(t, dir, name, h.Size()+30)
			return name
		},
		"merged of what is not known": func(t *testing.T, dir string, m *segment.Manifest, h segment.Header) string {
			h.Kind, h.Replaces = segment.Merged, []segment.ID{m.NextID + 1}
			return stray(t, dir, h, nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m := strayStore(t)
			name := leave(t, dir, m, segment.Header{ID: m.NextID + 2, Salt: 77, Kind: segment.Log})
			before := filesOfDir(t, dir).unlock()
			_, err := Open(dir, byHand())
			if !errors.Is(err, ErrCorrupt) || !containsAll(err.Error(), segment.ManifestName, name, "mmapkv salvage FROM TO") {
				t.Errorf("Open: %v", err)
			}
			if !maps.Equal(before, filesOfDir(t, dir).unlock()) {
				t.Error("files have changed")
			}
			r := verified(t, dir)
			if len(r.Damages) != 1 || r.Damages[0].Kind != NewerData || r.Damages[0].File != name || r.Damages[0].Meaning() == "" {
				t.Errorf("Verify: %+v", r.Damages)
			}
			_, report := salvaged(t, dir, nil)
			if report.Manifest || len(report.Damages) == 0 || !strings.Contains(report.Damages[0].Reason, name) {
				t.Errorf("Salvage: %+v", report)
			}
		})
	}
}

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func TestManyNewerFilesAreCounted(t *testing.T) {
	dir, m := strayStore(t)
	for i := range segment.ID(listing.MostNamed + 5) {
		h := segment.Header{ID: m.NextID + i, Salt: uint64(i), Kind: segment.Log}
		stray(t, dir, h, recordAt(h, m.LastSeq+1, 10))
	}
	_, err := Open(dir, byHand())
	last := segment.FileName(m.NextID + listing.MostNamed - 1)
	if err == nil || !strings.Contains(err.Error(), last+" and 5 more") {
		t.Errorf("Open: %v", err)
	}
}

// TestWhatCannotBeLookedAtStays: if an unlisted file cannot be opened or read, nobody can
// tell whether it is newer than the manifest.
func TestWhatCannotBeLookedAtStays(t *testing.T) {
	dir, m := strayStore(t)
	h := segment.Header{ID: m.NextID, Salt: 77, Kind: segment.Log}
	name := stray(t, dir, h, make([]byte, 4096))
	disks := func(at int64) vfs.FS { return badDisk{vfs.OS(), name, at, at + 1} }
	for _, at := range []int64{0, h.Size()} {
		o := byHand()
		inject.Into(o, &inject.Seams{FS: disks(at)})
		_, err := Open(dir, o)
		if !errors.Is(err, ErrCorrupt) || !containsAll(err.Error(), name, "input/output error", "salvage") {
			t.Errorf("Open: %v", err)
		}
		v := new(VerifyOptions)
		inject.Into(v, &inject.Seams{FS: disks(at)})
		r, err := Verify(t.Context(), dir, v)
		if err != nil || len(r.Damages) != 1 || r.Damages[0].Kind != DamagedSegment || r.Damages[0].File != name {
			t.Errorf("Verify: %+v, %v", r.Damages, err)
		}
	}

	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.EACCES} {
		o := byHand()
		inject.Into(o, &inject.Seams{FS: shutDisk{vfs.OS(), name, errno}})
		if _, err := Open(dir, o); !errors.Is(err, errno) || errors.Is(err, ErrCorrupt) {
			t.Errorf("Open: %v", err)
		}
	}

	overwrite(t, filepath.Join(dir, name), 8, []byte{99})
	if _, err := Open(dir, byHand()); !errors.Is(err, ErrVersion) {
		t.Errorf("Open: %v", err)
	}
	if got := bytesOf(t, dir, name); len(got) != 4096+int(h.Size()) {
		t.Errorf("the file has %d bytes", len(got))
	}
}

// shutDisk fails to open files with one name.
type shutDisk struct {
	vfs.FS
	name string
	err  error
}

func (d shutDisk) OpenDir(path string) (vfs.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	return shutDir{dir, d}, err
}

type shutDir struct {
	vfs.Dir
	disk shutDisk
}

func (d shutDir) OpenReadOnly(name string) (vfs.File, error) {
	if name == d.disk.name {
		return nil, fmt.Errorf("opening %s: %w", name, d.disk.err)
	}
	return d.Dir.OpenReadOnly(name)
}

// TestLeftoversWithBlocksOfTheTailGo: after a power cut, a file that was created and never
// synced may show blocks of the log's own tail, with numbers that no manifest knows yet.
func TestLeftoversWithBlocksOfTheTailGo(t *testing.T) {
	dir := quickDir(t)
	s := open(t, dir, byHand())
	fill(t, s, 0, 5, 100)
	dir = killed(t, s, dir)
	m := manifestOf(t, dir)
	tail := m.Segments[len(m.Segments)-1]
	if m.LastSeq >= 5 {
		t.Fatalf("the manifest knows of %d records", m.LastSeq)
	}
	name := segment.FileName(m.NextID)
	replaceBytes(t, dir, name, bytesOf(t, dir, segment.FileName(tail.ID)))
	wantSound(t, verified(t, dir))
	wantFilled(t, open(t, dir, byHand()), 0, 5, 100)
	if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
