package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// files are the files of a directory with their contents.
type files map[string]string

func filesOfDir(t testing.TB, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := files{}
	for _, e := range entries {
		all[e.Name()] = string(bytesOf(t, dir, e.Name()))
	}
	return all
}

// write puts the files into a new directory.
func (all files) write(t testing.TB) string {
	t.Helper()
	dir := quickDir(t)
	for name, content := range all {
		replaceBytes(t, dir, name, []byte(content))
	}
	return dir
}

// unlock is the files without LOCK, which any Open may create.
func (all files) unlock() files {
	rest := maps.Clone(all)
	delete(rest, segment.LockName)
	return rest
}

// yesterday is a store at two times. Tests put files of the first time back over those
// of the second.
type yesterday struct {
	old, new files
	was      map[string]string // at the first time
	want     map[string]string // at the second time; "" is deleted
}

// how says how a store gets from the first time to the second.
type how struct {
	name          string
	oldKill, kill bool // the store is killed, not closed: at the first time, at the second
	few           bool // few writes, so the tail stays the same file
	compact       bool
	deletes       bool // keys are deleted
	reset         bool // everything old is overwritten
}

// live writes the store, and copies its directory at both times.
func (h how) live(t *testing.T) *yesterday {
	y := &yesterday{want: map[string]string{}}
	dir := quickDir(t)
	o := tiny()
	o.Sync = fsync.Always
	o.Compaction.Disabled = true
	s := open(t, dir, o)
	set := func(i int, value string) {
		key := fmt.Sprintf("key-%03d", i)
		put(t, s, key, value)
		y.want[key] = value
	}
	n := 60
	if h.few {
		n = 4
	}
	for i := range n {
		set(i, fmt.Sprintf("old-%03d-%0200d", i, i))
	}
	y.was = maps.Clone(y.want)
	if h.oldKill {
		y.old = filesOfDir(t, killed(t, s, dir))
	} else {
		closeStore(t, s)
		y.old = filesOfDir(t, dir)
		s = open(t, dir, o)
	}
	for i := range n {
		if h.reset || i%2 == 0 {
			set(i, fmt.Sprintf("new-%03d-%0200d", i, i))
		}
	}
	for i := 0; h.deletes && i < n; i += 3 {
		key := fmt.Sprintf("key-%03d", i)
		if err := s.Delete([]byte(key)); err != nil {
			t.Fatal(err)
		}
		y.want[key] = ""
	}
	if h.compact {
		if err := s.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if !h.few {
		for i := n; i < n+20; i++ {
			set(i, fmt.Sprintf("new-%03d-%0200d", i, i))
		}
	}
	if h.kill {
		y.new = filesOfDir(t, killed(t, s, dir))
		closeStore(t, s)
	} else {
		closeStore(t, s)
		y.new = filesOfDir(t, dir)
	}
	return y
}

// kinds are the sets of files that are put back.
func (y *yesterday) kinds() map[string][]string {
	kinds := map[string][]string{}
	for name := range y.old {
		if y.old[name] == y.new[name] && name != segment.LockName && name != segment.ReserveName {
			continue
		}
		_, kind, _ := segment.ParseFileName(name)
		switch _, there := y.new[name]; {
		case kind == segment.SegmentFile && there:
			kinds[name] = []string{name}
			kinds["all segments that are there"] = append(kinds["all segments that are there"], name)
		case kind == segment.SegmentFile:
			kinds["all segments that are gone"] = append(kinds["all segments that are gone"], name)
		case kind == segment.HintFile:
			kinds["all hints"] = append(kinds["all hints"], name)
		default:
			kinds[name] = []string{name}
		}
	}
	return kinds
}

// check puts files back and opens the result. nothingTells says that it may show the
// store of the first time.
func (y *yesterday) check(t *testing.T, put []string, nothingTells bool) {
	t.Helper()
	mixed := maps.Clone(y.new)
	for _, name := range put {
		mixed[name] = y.old[name]
	}
	dir := mixed.write(t)
	report := verified(t, dir)
	o := tiny()
	o.Compaction.Disabled = true
	for _, readOnly := range []bool{true, false} {
		o.ReadOnly = readOnly
		before := filesOfDir(t, dir).unlock()
		s, err := Open(dir, o)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "mmapkv salvage FROM TO") {
				t.Errorf("Open: %v", err)
			}
			if !maps.Equal(before, filesOfDir(t, dir).unlock()) {
				t.Errorf("Open refuses, read-only %v, and has changed files: %v", readOnly, err)
			}
			if len(report.Damages) == 0 {
				t.Errorf("Verify finds nothing, and Open says %v", err)
			}
			continue
		}
		y.read(t, s, len(report.Damages) > 0, nothingTells)
		closeStore(t, s)
	}
}

// read reads every key of a store that could be opened.
func (y *yesterday) read(t *testing.T, s *Store, verified, nothingTells bool) {
	t.Helper()
	damages := s.Stats().Recovery.Damages
	for key, want := range y.want {
		got, err := s.Get([]byte(key))
		switch {
		case err == nil && string(got) == want && want != "", errors.Is(err, ErrNotFound) && want == "", errors.Is(err, ErrCorrupt), len(damages) > 0:
			continue
		case nothingTells && err == nil && string(got) == y.was[key]:
			continue
		}
		t.Errorf("%s is %.12q, %v, and was %.12q; Open reports nothing, Verify damage %v", key, got, err, want, verified)
		return
	}
}

var allHows = []how{
	{name: "closed, closed"},
	{name: "closed, killed", kill: true},
	{name: "killed, closed", oldKill: true},
	{name: "killed, killed", oldKill: true, kill: true},
	{name: "few, closed, closed", few: true},
	{name: "few, closed, killed", few: true, kill: true},
	{name: "few, killed, closed", few: true, oldKill: true},
	{name: "few, killed, killed", few: true, oldKill: true, kill: true},
	{name: "deletes, closed, closed", deletes: true},
	{name: "deletes, killed, killed", deletes: true, oldKill: true, kill: true},
	{name: "compacted, closed, closed", compact: true, deletes: true},
	{name: "compacted, killed, killed", compact: true, deletes: true, oldKill: true, kill: true},
	{name: "all old is gone, closed, closed", compact: true, reset: true},
	{name: "all old is gone, closed, killed", compact: true, reset: true, kill: true},
	{name: "all old is gone, killed, closed", compact: true, reset: true, oldKill: true},
}

// TestYesterdaysFilesAreNoticed puts back each kind of older files, and each pair of
// kinds. Open refuses and changes nothing, or it shows the newest values, or it reports
// damage.
func TestYesterdaysFilesAreNoticed(t *testing.T) {
	for _, h := range allHows {
		t.Run(h.name, func(t *testing.T) {
			y := h.live(t)
			kinds := y.kinds()
			names := slices.Sorted(maps.Keys(kinds))
			for i, a := range names {
				for _, b := range names[i:] {
					put := slices.Compact(slices.Sorted(slices.Values(slices.Concat(kinds[a], kinds[b]))))
					t.Run(a+"+"+b, func(t *testing.T) { y.check(t, put, h.nothingTells(put)) })
				}
			}
		})
	}
}

// nothingTells tells whether the result is a store as it was, or as a power cut could
// leave it. Either the manifest is old too, or the store was not closed and the manifest
// has not learned how far its tail went.
func (h how) nothingTells(put []string) bool {
	return h.few && slices.Contains(put, segment.FileName(1)) && (h.kill || slices.Contains(put, segment.ManifestName))
}

// TestAnOlderManifestDestroysNothing: an operator restores only the manifest from a
// backup.
func TestAnOlderManifestDestroysNothing(t *testing.T) {
	for _, h := range allHows {
		t.Run(h.name, func(t *testing.T) {
			y := h.live(t)
			mixed := maps.Clone(y.new)
			mixed[segment.ManifestName] = y.old[segment.ManifestName]
			dir := mixed.write(t)
			s, err := Open(dir, tiny())
			if err == nil {
				defer closeStore(t, s)
				y.wantAll(t, s)
				return
			}
			if !strings.Contains(err.Error(), "manifest") && !strings.Contains(err.Error(), segment.ManifestName) {
				t.Errorf("Open: %v", err)
			}
			to, report := salvaged(t, dir, nil)
			if strings.Contains(err.Error(), "it is older") {
				wantComplete(t, report)
				y.wantAll(t, to)
			} else if report.Complete() {
				t.Errorf("Open says %v, and Salvage misses nothing", err)
			}
		})
	}
}

// wantAll checks that a store shows what it held at the second time.
func (y *yesterday) wantAll(t *testing.T, s *Store) {
	t.Helper()
	for key, want := range y.want {
		if want == "" {
			wantAbsent(t, s, key)
		} else {
			wantValue(t, s, key, want)
		}
	}
}

// TestTheManifestBeforeARecoveryDestroysNothing: a recovery copies what was not synced
// to a new file. The manifest from before the recovery knows the same numbers, but not
// that file.
func TestTheManifestBeforeARecoveryDestroysNothing(t *testing.T) {
	dir := quickDir(t)
	o := byHand()
	o.Sync = fsync.Never
	var steps []inject.Step
	inject.Into(o, &inject.Seams{Manual: true, OnOpen: func(all []inject.Step) { steps = all }})
	s := open(t, dir, o)
	fill(t, s, 0, 5, 100)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 5, 15, 200)
	for _, step := range steps {
		if step.Name != "prepare" {
			continue
		}
		if did, err := step.Run(); !did || err != nil {
			t.Fatal("nothing was prepared:", err)
		}
	}
	before := filesOfDir(t, dir)
	if m := manifestOf(t, dir); m.LastSeq != 15 || m.Watermark != 5 {
		t.Fatalf("the manifest knows of %d, and that %d are synced", m.LastSeq, m.Watermark)
	}
	after := before.write(t)
	closeStore(t, s)
	s = open(t, after, byHand())
	wantFilled(t, s, 0, 5, 100)
	wantFilled(t, s, 5, 15, 200)
	after = killed(t, s, after)
	replaceBytes(t, after, segment.ManifestName, []byte(before[segment.ManifestName]))
	if s, err := Open(after, byHand()); err == nil {
		defer closeStore(t, s)
		wantFilled(t, s, 0, 5, 100)
		wantFilled(t, s, 5, 15, 200)
	} else if !strings.Contains(err.Error(), "it is older than other files") {
		t.Error(err)
	}
}

// TestHardLinksAreNoCopy: a directory of hard links shares its segments with the store.
// While the store is open, the links cannot be opened, since they share its lock. Once
// both have been written, each reports what the other did to it as damage.
func TestHardLinksAreNoCopy(t *testing.T) {
	dir, links := quickDir(t), quickDir(t)
	o := byHand()
	o.Sync = fsync.Never
	s := open(t, dir, o)
	fill(t, s, 0, 10, 100)
	s.catalog.Manifest.Mu.Lock()
	for name := range filesOfDir(t, dir) {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.catalog.Manifest.Mu.Unlock()
	if _, err := Open(links, o); !errors.Is(err, ErrLocked) {
		t.Errorf("the links, while the store is open: %v", err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 10, 20, 100)
	closeStore(t, s)
	other := open(t, links, o)
	fill(t, other, 0, 5, 50)
	closeStore(t, other)

	r := verified(t, dir)
	s, err := Open(dir, o)
	if err == nil {
		defer closeStore(t, s)
	}
	if len(r.Damages) == 0 || !errors.Is(err, ErrCorrupt) && len(s.Stats().Recovery.Damages) == 0 {
		t.Errorf("the other side is not noticed: Open %v, Verify %v", err, r.Damages)
	}
}
