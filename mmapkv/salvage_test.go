package mmapkv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// salvaged salvages a directory into a new one, which it opens, and leaves the old as it was.
func salvaged(t testing.TB, from string, o *SalvageOptions) (*Store, SalvageReport) {
	t.Helper()
	before := directoryListing(t, from)
	var options SalvageOptions
	if o != nil {
		options = *o
	}
	options.Options = &Options{SegmentSize: 256 << 10}
	to := filepath.Join(t.TempDir(), "to")
	report, err := Salvage(context.Background(), from, to, &options)
	if err != nil {
		t.Fatalf("Salvage: %v", err)
	}
	if after := directoryListing(t, from); after != before {
		t.Errorf("Salvage has changed the directory:\n%s\nwas\n%s", after, before)
	}
	s := open(t, to, options.Options)
	if s.Len() != report.Keys {
		t.Errorf("%d keys are there, %d in the report", s.Len(), report.Keys)
	}
	return s, report
}

// directoryListing lists the files of a directory with their sizes and times.
func directoryListing(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

func wantComplete(t testing.TB, r SalvageReport) {
	t.Helper()
	if !r.Complete() {
		t.Errorf("something is lost: %+v", r)
	}
}

func salvageStore(t testing.TB) string {
	dir := t.TempDir()
	o := byHand()
	o.SegmentSize = 256 << 10
	s := open(t, dir, o)
	fill(t, s, 0, 10_000, 100)
	closeStore(t, s)
	return dir
}

func remove(t testing.TB, dir, pattern string) (removed []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		removed = append(removed, filepath.Base(name))
	}
	return removed
}

// overwrite changes a part of a file.
func overwrite(t testing.TB, name string, offset int64, content []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(content, offset)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func noise(seed uint64, size int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b)
	return b
}

func TestSalvageOfOverwrittenBlock(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		for _, hints := range []bool{true, false} {
			t.Run(fmt.Sprintf("manifest=%v,hints=%v", manifest, hints), func(t *testing.T) {
				dir := salvageStore(t)
				name := segmentFiles(t, dir)[2]
				overwrite(t, name, 100<<10, noise(1, 4<<10))

				// The store opens, and distinguishes damaged keys from absent ones.
				damaged := map[int]bool{}
				s := open(t, copyDir(t, dir), byHand())
				for i := range 10_000 {
					key, value := numbered(i, 100)
					got, err := s.Get(key)
					var corrupt *CorruptError
					switch {
					case err == nil && bytes.Equal(got, value):
					case errors.As(err, &corrupt) && corrupt.File == filepath.Base(name) && corrupt.Offset > 99<<10 && corrupt.Offset < 105<<10:
						damaged[i] = true
					default:
						t.Fatalf("key %d: %q, %v", i, got, err)
					}
				}
				if len(damaged) < 20 || len(damaged) > 40 {
					t.Fatalf("%d keys are damaged", len(damaged))
				}

				if !manifest {
					remove(t, dir, segment.ManifestName)
				}
				if !hints {
					remove(t, dir, "*.hint")
				}
				s, report := salvaged(t, dir, nil)
				for i := range 10_000 {
					key, value := numbered(i, 100)
					got, err := s.Get(key)
					if damaged[i] && !errors.Is(err, ErrNotFound) || !damaged[i] && (err != nil || !bytes.Equal(got, value)) {
						t.Fatalf("key %d, damaged %v: %.20q, %v", i, damaged[i], got, err)
					}
				}
				if report.Manifest != manifest || report.RangesLost != 1 || report.LostRanges[0].File != filepath.Base(name) || report.BytesLost < 3<<10 || report.BytesLost > 5<<10 || report.Complete() {
					t.Errorf("%+v", report)
				}
				if hints {
					if report.KeysLost != len(damaged) || len(report.LostKeys) != len(damaged) {
						t.Errorf("%d lost keys, %d listed, %d are damaged", report.KeysLost, len(report.LostKeys), len(damaged))
					}
					for _, k := range report.LostKeys {
						var i int
						fmt.Sscanf(string(k.Key), "key-%d", &i)
						if !damaged[i] || k.File != filepath.Base(name) || k.Seq != uint64(i+1) {
							t.Errorf("%+v", k)
						}
					}
				}
			})
		}
	}
}

func TestSalvageWithoutManifestRestoresAll(t *testing.T) {
	for _, how := range []string{"missing", "damaged", "cut", "ignored"} {
		for _, hints := range []bool{true, false} {
			if !hints && how != "missing" {
				continue
			}
			t.Run(fmt.Sprint(how, hints), func(t *testing.T) {
				dir := salvageStore(t)
				name := filepath.Join(dir, segment.ManifestName)
				o := &SalvageOptions{}
				switch how {
				case "missing":
					remove(t, dir, segment.ManifestName)
				case "damaged":
					overwrite(t, name, 0, noise(3, 8<<10))
				case "cut":
					if err := os.Truncate(name, 20); err != nil {
						t.Fatal(err)
					}
				case "ignored":
					o.IgnoreManifest = true
				}
				if !hints {
					remove(t, dir, "*.hint")
				}
				if how != "ignored" {
					if _, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "mmapkv salvage FROM TO") {
						t.Fatalf("Open: %v", err)
					}
				}
				s, report := salvaged(t, dir, o)
				wantComplete(t, report)
				wantFilled(t, s, 0, 10_000, 100)
				if report.Manifest || s.Len() != 10_000 || report.Bytes != 10_000*111 {
					t.Errorf("%d keys, %+v", s.Len(), report)
				}
			})
		}
	}
}

func TestSalvageWithoutSegment(t *testing.T) {
	for _, what := range []string{"hints", "no hints", "no manifest"} {
		t.Run(what, func(t *testing.T) {
			dir := salvageStore(t)
			gone := remove(t, dir, "0000000000000003.seg")
			switch what {
			case "no hints":
				remove(t, dir, "*.hint")
			case "no manifest":
				remove(t, dir, segment.ManifestName)
			}
			s, report := salvaged(t, dir, nil)
			lost := 10_000 - s.Len()
			if lost < 1000 || lost > 2500 {
				t.Errorf("%d keys are lost", lost)
			}
			if what != "no manifest" && !slices.Equal(report.Missing, gone) {
				t.Errorf("missing is %v", report.Missing)
			}
			if what == "hints" && (report.KeysLost != lost || len(report.LostKeys) != MaxListed) {
				t.Errorf("%d keys are lost; %d in the report, %d listed", lost, report.KeysLost, len(report.LostKeys))
			}
			for i := range 10_000 {
				key, value := numbered(i, 100)
				if got, err := s.Get(key); !errors.Is(err, ErrNotFound) && !bytes.Equal(got, value) {
					t.Fatalf("key %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

// TestSalvageOfDamagedHeaders reads files with the salt of the manifest, or with the
// one that is still in the header.
func TestSalvageOfDamagedHeaders(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		t.Run(fmt.Sprint("manifest=", manifest), func(t *testing.T) {
			dir := salvageStore(t)
			names := segmentFiles(t, dir)
			overwrite(t, names[1], 8, []byte{1, 2, 3, 4}) // the salt is whole
			overwrite(t, names[2], 0, make([]byte, segment.HeaderSize))
			if !manifest {
				remove(t, dir, segment.ManifestName)
			}
			s, report := salvaged(t, dir, nil)
			if len(report.Damages) != 2 && manifest || len(report.Damages) != 3 && !manifest {
				t.Errorf("%+v", report.Damages)
			}
			if manifest {
				wantComplete(t, report)
				wantFilled(t, s, 0, 10_000, 100)
				return
			}
			if report.RangesLost != 1 || report.LostRanges[0].File != filepath.Base(names[2]) || s.Len() < 7000 || s.Len() == 10_000 {
				t.Errorf("%d keys, %+v", s.Len(), report)
			}
		})
	}
}

// TestSalvageFindsSwappedFiles swaps the names of two segments.
func TestSalvageFindsSwappedFiles(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		dir := salvageStore(t)
		names := segmentFiles(t, dir)
		for _, move := range [][2]string{{names[1], names[1] + "x"}, {names[2], names[1]}, {names[1] + "x", names[2]}} {
			if err := os.Rename(move[0], move[1]); err != nil {
				t.Fatal(err)
			}
		}
		if !manifest {
			remove(t, dir, segment.ManifestName)
		}
		s, report := salvaged(t, dir, nil)
		wantComplete(t, report)
		wantFilled(t, s, 0, 10_000, 100)
	}
}

// spot finds where a value lies in the files of a directory.
func spot(t testing.TB, dir, value string) (name string, offset int64) {
	t.Helper()
	for _, name := range segmentFiles(t, dir) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(content, []byte(value)); at >= 0 {
			return name, int64(at)
		}
	}
	t.Fatalf("%q is nowhere", value)
	return "", 0
}

// TestSalvageBringsNothingBack damages the records that replaced or deleted values.
func TestSalvageBringsNothingBack(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		for _, older := range []bool{true, false} {
			t.Run(fmt.Sprintf("manifest=%v,older=%v", manifest, older), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, byHand())
				put(t, s, "overwritten", "the first value")
				put(t, s, "deleted", "a value to be deleted")
				put(t, s, "deleted-hard", "another value to be deleted")
				fill(t, s, 0, 100, 100)
				put(t, s, "overwritten", "the second value")
				if err := s.Delete([]byte("deleted")); err != nil {
					t.Fatal(err)
				}
				if err := s.Delete([]byte("deleted-hard")); err != nil {
					t.Fatal(err)
				}
				fill(t, s, 100, 200, 100)
				closeStore(t, s)
				if !manifest {
					remove(t, dir, segment.ManifestName)
				}
				name, at := spot(t, dir, "the second value")
				overwrite(t, name, at, []byte("X"))
				// This damages the last tombstone, which the hint still lists.
				content, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				overwrite(t, name, int64(bytes.LastIndex(content, []byte("deleted-hard"))), []byte("X"))

				s, report := salvaged(t, dir, &SalvageOptions{OlderVersions: older})
				wantAbsent(t, s, "deleted")
				wantAbsent(t, s, "deleted-hard")
				wantFilled(t, s, 0, 200, 100)
				if report.KeysLost != 1 || string(report.LostKeys[0].Key) != "overwritten" || report.LostKeys[0].Seq != 104 {
					t.Errorf("%+v", report)
				}
				if older {
					wantValue(t, s, "overwritten", "the first value")
					if report.LostKeys[0].Older != 1 {
						t.Errorf("%+v", report.LostKeys)
					}
				} else {
					wantAbsent(t, s, "overwritten")
				}
			})
		}
	}
}

func TestSalvageKeepsExpiry(t *testing.T) {
	dir := t.TempDir()
	now := time.UnixMilli(1_000_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }})
	s := open(t, dir, o)
	put(t, s, "gone", "older value of what has expired")
	for key, ttl := range map[string]time.Duration{"gone": time.Minute, "stays": 2 * time.Hour} {
		if err := s.PutWithTTL([]byte(key), []byte("value"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "for ever", "value")
	closeStore(t, s)
	remove(t, dir, segment.ManifestName)
	now = now.Add(time.Hour)
	to := filepath.Join(t.TempDir(), "to")
	report, err := Salvage(context.Background(), dir, to, &SalvageOptions{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	wantComplete(t, report)
	if report.Keys != 2 || report.Gone != 1 || report.Expiring != 1 {
		t.Errorf("%+v", report)
	}
	s = open(t, to, o)
	wantAbsent(t, s, "gone")
	if ttl, ok, err := s.TTL([]byte("stays")); ttl != time.Hour || !ok || err != nil {
		t.Errorf("TTL %v, %v, %v", ttl, ok, err)
	}
	if _, ok, err := s.TTL([]byte("for ever")); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// TestSalvageCutsOpenBatch cuts off the end of the last batch: nothing of it counts. If
// its middle is damaged instead, it was on disk, and the rest of it counts.
func TestSalvageCutsOpenBatch(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		live := t.TempDir()
		s := open(t, live, byHand())
		write := func(name string) {
			var b Batch
			for i := range 5 {
				b.Put(fmt.Appendf(nil, "%s-%d", name, i), fmt.Appendf(nil, "value of %s-%d", name, i))
			}
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		write("first")
		write("second")
		dir := killed(t, s, live)
		name, at := spot(t, dir, "value of first-2")
		overwrite(t, name, at-8, noise(5, 16))
		name, at = spot(t, dir, "value of second-4")
		if err := os.Truncate(name, at); err != nil {
			t.Fatal(err)
		}
		if !manifest {
			remove(t, dir, segment.ManifestName)
		}
		to, report := salvaged(t, dir, nil)
		for i := range 5 {
			wantAbsent(t, to, fmt.Sprint("second-", i))
			if i != 2 {
				wantValue(t, to, fmt.Sprint("first-", i), fmt.Sprint("value of first-", i))
			}
		}
		if report.Discarded == 0 || report.RangesLost == 0 {
			t.Errorf("%+v", report)
		}
	}
}

// TestSalvageOfKilledStore salvages what SIGKILL leaves.
func TestSalvageOfKilledStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	for round := range 3 {
		fill(t, s, 0, 1000, 100+round)
	}
	for i := range 100 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "long", strings.Repeat("x", 100_000))
	for _, how := range []string{"", segment.ManifestName, "*.hint"} {
		from := killed(t, s, dir)
		if how != "" {
			remove(t, from, how)
		}
		to, report := salvaged(t, from, nil)
		wantComplete(t, report)
		wantFilled(t, to, 100, 1000, 102)
		wantValue(t, to, "long", strings.Repeat("x", 100_000))
		if to.Len() != 901 {
			t.Errorf("%d keys", to.Len())
		}
	}
}

// TestSalvageOfInterruptedCompactions salvages the files that exist between any two
// steps of a compaction, with and without a manifest and hints.
func TestSalvageOfInterruptedCompactions(t *testing.T) {
	dir := t.TempDir()
	o := byHand()
	states := map[string]string{}
	var s *Store
	inject.Into(o, &inject.Seams{Between: func(phase string) {
		if phase == "copied" || phase == "edited" || phase == "retired" {
			key := fmt.Sprint(len(states), phase)
			states[key] = killed(t, s, dir)
		}
	}})
	s = open(t, dir, o)
	fill(t, s, 0, 100, 100)
	for i := range 50 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, 200, 250, 100)
	compactAll(t, s)
	if len(states) < 6 {
		t.Fatalf("only %d states", len(states))
	}
	for name, state := range states {
		for _, without := range []string{"", segment.ManifestName, "*.hint", "both"} {
			t.Run(name+without, func(t *testing.T) {
				dir := copyDir(t, state)
				switch without {
				case "":
				case "both":
					remove(t, dir, segment.ManifestName)
					remove(t, dir, "*.hint")
				default:
					remove(t, dir, without)
				}
				to, report := salvaged(t, dir, nil)
				wantComplete(t, report)
				wantFilled(t, to, 50, 100, 100)
				wantFilled(t, to, 200, 250, 100)
				if to.Len() != 100 {
					t.Errorf("%d keys, %+v", to.Len(), report)
				}
			})
		}
	}
}

// TestSalvageLeavesReplacedFilesAlone puts back a file with a deleted value. A compaction
// had replaced that file and the file with the value's tombstone.
func TestSalvageLeavesReplacedFilesAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "key", "a value that is deleted")
	fill(t, s, 0, 100, 100)
	if err := s.Delete([]byte("key")); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 50, 100, 100) // so that every file has garbage
	closeStore(t, s)
	s = open(t, dir, byHand())
	old := killed(t, s, dir)
	compactAll(t, s)
	closeStore(t, s)
	first, _ := spot(t, old, "a value that is deleted")
	content, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(first)), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, without := range []string{"", segment.ManifestName} {
		if without != "" {
			remove(t, dir, without)
		}
		to, report := salvaged(t, dir, nil)
		wantComplete(t, report)
		wantAbsent(t, to, "key")
		wantFilled(t, to, 0, 100, 100)
		if !slices.Contains(report.Unread, filepath.Base(first)) {
			t.Errorf("%+v", report)
		}
	}
}

func TestSalvageDryRunWritesNothing(t *testing.T) {
	dir := salvageStore(t)
	remove(t, dir, segment.ManifestName)
	overwrite(t, segmentFiles(t, dir)[1], 10_000, noise(7, 4<<10))
	want, err := Salvage(context.Background(), dir, filepath.Join(t.TempDir(), "to"), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := directoryListing(t, dir)
	for _, to := range []string{"", filepath.Join(t.TempDir(), "none")} {
		report, err := Salvage(context.Background(), dir, to, &SalvageOptions{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(report) != fmt.Sprint(want) {
			t.Errorf("a dry run reports %+v, the real one %+v", report, want)
		}
		if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is %q: %v", to, err)
		}
	}
	if after := directoryListing(t, dir); after != before {
		t.Errorf("a dry run changes\n%s to\n%s", before, after)
	}
}

// TestSalvageRefuses checks the arguments that Salvage refuses.
func TestSalvageRefuses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "k", "v")
	salvage := func(from, to string) error {
		_, err := Salvage(context.Background(), from, to, nil)
		return err
	}
	parent := t.TempDir()
	to := filepath.Join(parent, "to")
	if err := salvage(dir, to); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a writer: %v", err)
	}
	closeStore(t, s)
	link := filepath.Join(parent, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, inside := range []string{dir, link, dir + "/.", filepath.Join(dir, "new"), filepath.Join(link, "new", "newer")} {
		if err := salvage(dir, inside); !errors.Is(err, ErrInvalid) {
			t.Errorf("to %s: %v", inside, err)
		}
		if err := salvage(link, inside); !errors.Is(err, ErrInvalid) {
			t.Errorf("through a link to %s: %v", inside, err)
		}
	}
	if err := salvage(dir, parent); !errors.Is(err, ErrInvalid) {
		t.Errorf("to a directory with something in it: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := salvage(dir, file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("to a file: %v", err)
	}
	if err := salvage(filepath.Join(parent, "none"), to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from nowhere: %v", err)
	}
	if err := salvage(t.TempDir(), to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from an empty directory: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	if err := salvage(dir, to); err != nil {
		t.Error(err)
	}
}

// TestSalvageOfReadOnlyDirectory salvages a read-only directory without LOCK.
func TestSalvageOfReadOnlyDirectory(t *testing.T) {
	dir := salvageStore(t)
	remove(t, dir, segment.LockName)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	s, report := salvaged(t, dir, nil)
	wantComplete(t, report)
	wantFilled(t, s, 0, 10_000, 100)
}

// TestSalvageThatFailsLeavesNoStore cancels Salvage at many of the steps it reports. A
// cancelled Salvage can start again in the same place.
func TestSalvageThatFailsLeavesNoStore(t *testing.T) {
	dir := salvageStore(t)
	to := filepath.Join(t.TempDir(), "to")
	for steps := 1; steps < 2000; steps += 350 {
		ctx, cancel := context.WithCancel(context.Background())
		left := steps
		var last int64
		_, err := Salvage(ctx, dir, to, &SalvageOptions{Progress: func(done, total int64) {
			if left--; left == 0 {
				cancel()
			}
			if done < last || done > total {
				t.Errorf("%d of %d is done, behind %d", done, total, last)
			}
			last = done
		}})
		cancel()
		if left > 0 && err == nil {
			return // it finished before the cancel
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled at step %d: %v", steps, err)
		}
		entries, err := os.ReadDir(to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != segment.LockName {
				t.Errorf("cancelled at step %d: %s is left", steps, e.Name())
			}
		}
	}
	t.Error("it never ends")
}

// TestKilledSalvageLeavesNoStore looks at the target while Salvage runs.
func TestKilledSalvageLeavesNoStore(t *testing.T) {
	dir := salvageStore(t)
	to := filepath.Join(t.TempDir(), "to")
	looked := false
	_, err := Salvage(context.Background(), dir, to, &SalvageOptions{Progress: func(done, total int64) {
		if looked || done < total*9/10 {
			return
		}
		looked = true
		if _, err := Open(copyDir(t, to), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open of what is not complete: %v", err)
		}
		for _, ignore := range []bool{false, true} {
			report, err := Salvage(context.Background(), copyDir(t, to), "", &SalvageOptions{DryRun: true, IgnoreManifest: ignore})
			if err != nil || !report.Unfinished || report.Complete() {
				t.Errorf("Salvage of what is not complete: %+v, %v", report, err)
			}
		}
	}})
	if err != nil || !looked {
		t.Errorf("%v, looked %v", err, looked)
	}
}

// TestSalvageOfCutFiles truncates every file of a small store to many lengths.
func TestSalvageOfCutFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	for round := range 2 {
		fill(t, s, 0, 40, 100+round)
	}
	closeStore(t, s)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for size := 0; size < len(content); size += 1 + len(content)/12 {
			if err := os.Truncate(name, int64(size)); err != nil {
				t.Fatal(err)
			}
			report, err := Salvage(context.Background(), dir, "", &SalvageOptions{DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			if report.Keys < 40 && report.Keys+report.KeysLost != 40 {
				t.Errorf("%s cut to %d: %d keys, %d lost; %+v", name, size, report.Keys, report.KeysLost, report)
			}
			if filepath.Ext(name) == ".hint" || filepath.Base(name) == segment.ReserveName {
				wantComplete(t, report)
			}
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSalvageOfUnreadableSectors salvages from a disk that cannot read parts of files.
func TestSalvageOfUnreadableSectors(t *testing.T) {
	dir := salvageStore(t)
	bad := filepath.Base(segmentFiles(t, dir)[2])
	o := &Options{}
	inject.Into(o, &inject.Seams{FS: badDisk{vfs.OS(), bad, 40 << 10, 50 << 10}})
	to := filepath.Join(t.TempDir(), "to")
	report, err := Salvage(context.Background(), dir, to, &SalvageOptions{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	if report.Keys+report.KeysLost != 10_000 || report.KeysLost < 50 || report.KeysLost > 150 || report.RangesLost != 1 || !strings.Contains(report.LostRanges[0].Reason, "input/output error") {
		t.Errorf("%+v", report)
	}
	names, err := fs.ReadDir(os.DirFS(to), ".")
	if err != nil || len(names) == 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// badDisk cannot read a part of the files with one name, whatever their directory.
type badDisk struct {
	vfs.FS
	name     string
	from, to int64
}

func (d badDisk) OpenDir(path string) (vfs.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	return badDir{dir, d}, err
}

type badDir struct {
	vfs.Dir
	disk badDisk
}

func (d badDir) OpenReadOnly(name string) (vfs.File, error) {
	f, err := d.Dir.OpenReadOnly(name)
	if err == nil && name == d.disk.name {
		return badFile{f, d.disk}, nil
	}
	return f, err
}

type badFile struct {
	vfs.File
	disk badDisk
}

func (f badFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset < f.disk.to && offset+int64(len(p)) > f.disk.from {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, offset)
}

// TestSalvageOfWhatIsNoFile puts something else under a segment's name.
func TestSalvageOfWhatIsNoFile(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		dir := salvageStore(t)
		gone := remove(t, dir, "0000000000000002.seg")
		if err := os.Mkdir(filepath.Join(dir, gone[0]), 0o700); err != nil {
			t.Fatal(err)
		}
		if !manifest {
			remove(t, dir, segment.ManifestName)
		}
		s, report := salvaged(t, dir, nil)
		if !slices.Equal(report.Missing, gone) || s.Len() < 7000 || manifest && s.Len()+report.KeysLost != 10_000 {
			t.Errorf("%d keys, %+v", s.Len(), report)
		}
	}
}

func TestSalvageOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	closeStore(t, s)
	manifest := filepath.Join(dir, segment.ManifestName)
	content, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{8, len(content)/2 + 8} {
		overwrite(t, manifest, int64(at), []byte{99})
	}
	if _, err := Salvage(context.Background(), dir, filepath.Join(t.TempDir(), "to"), nil); !errors.Is(err, ErrVersion) {
		t.Errorf("%v", err)
	}
}

// logFile writes a file of the log: records numbered from first on, each with its number
// as key and value. starts[n] is where the n-th record begins.
func logFile(t testing.TB, dir string, id segment.ID, first uint64, records int, previous *segment.End) (starts []int64) {
	t.Helper()
	h := segment.Header{ID: id, Salt: uint64(id) * 0x123456789, Kind: segment.Log}
	content := h.Append(nil)
	for i := range records {
		starts = append(starts, int64(len(content)))
		var d segment.Draft
		d.Put(fmt.Append(nil, first+uint64(i)), fmt.Append(nil, first+uint64(i)), 0)
		content = append(content, d.Finish(segment.Placement{Salt: h.Salt, Offset: starts[i], Seq: first + uint64(i), Previous: previous})...)
		previous = nil
	}
	if err := os.WriteFile(filepath.Join(dir, segment.FileName(id)), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return append(starts, int64(len(content)))
}

// TestSalvageLeavesOutWhatTheLogPassesOver writes records that, according to the next
// file, were never acknowledged.
func TestSalvageLeavesOutWhatTheLogPassesOver(t *testing.T) {
	dir := t.TempDir()
	starts := logFile(t, dir, 1, 1, 5, nil)
	logFile(t, dir, 2, 6, 2, &segment.End{Offset: starts[3], Seq: 3})
	s, report := salvaged(t, dir, nil)
	wantComplete(t, report)
	for n := range 8 {
		if key := fmt.Sprint(n); n == 0 || n == 4 || n == 5 {
			wantAbsent(t, s, key)
		} else {
			wantValue(t, s, key, key)
		}
	}
	if report.Discarded != starts[5]-starts[3] {
		t.Errorf("%+v", report)
	}
}

// TestSalvageListsOnlySoMuch makes more damage than a report lists.
func TestSalvageListsOnlySoMuch(t *testing.T) {
	dir := salvageStore(t)
	for _, name := range segmentFiles(t, dir) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := segment.HeaderSize + 40; at < len(content); at += 512 {
			content[at] ^= 1
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, report := salvaged(t, dir, nil)
	if s.Len()+report.KeysLost != 10_000 || report.KeysLost < 2*MaxListed || len(report.LostKeys) != MaxListed || len(report.LostRanges) > MaxListed {
		t.Errorf("%d keys, %d lost, %d listed", s.Len(), report.KeysLost, len(report.LostKeys))
	}
	if !slices.IsSortedFunc(report.LostKeys, func(a, b LostKey) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	}) {
		t.Error("the lost keys are not in order")
	}
}

// Salvage does not read a hint that is mostly a hole into memory.
func TestSalvageOfAHintWithHoles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 200, 100)
	closeStore(t, s)
	if err := os.Truncate(filepath.Join(dir, segment.HintName(1)), 200<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, segment.ManifestName)); err != nil {
		t.Fatal(err)
	}
	var report SalvageReport
	var err error
	allocated := allocatedBy(func() {
		report, err = Salvage(t.Context(), dir, filepath.Join(t.TempDir(), "to"), &SalvageOptions{Options: tiny()})
	})
	if err != nil || report.Keys != 200 || allocated > 100<<20 {
		t.Errorf("%d keys, %v, and %d bytes were allocated", report.Keys, err, allocated)
	}
}
