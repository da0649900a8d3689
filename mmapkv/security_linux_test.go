package mmapkv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/segment"
)

// liveFully makes a store of tiny segments do everything that creates or changes
// files. The store then has 50 keys with values of 101 bytes, and one long value.
func liveFully(s *Store) error {
	for round := range 2 {
		for i := range 50 {
			key, value := numbered(i, 100+round)
			if err := s.Put(key, value); err != nil {
				return err
			}
		}
		if err := s.Put([]byte("long"), make([]byte, 10_000)); err != nil {
			return err
		}
		if err := s.Compact(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

func TestModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o22, 0o77, 0o277, 0o777} {
		checkModes(t, filepath.Join(t.TempDir(), "parent", "store"), umask)
	}
}

func checkModes(t *testing.T, dir string, umask int) {
	t.Helper()
	defer unix.Umask(unix.Umask(umask))
	seen := 0
	look := func() {
		t.Helper()
		err := filepath.WalkDir(filepath.Dir(dir), func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it has been removed already
			}
			if err != nil {
				return err
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = fs.ModeDir | 0o700
			}
			if info.Mode() != want {
				t.Errorf("umask %03o: %s has mode %v, want %v", umask, path, info.Mode(), want)
			}
			seen++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s := open(t, dir, tiny())
		look()
		if err := liveFully(s); err != nil {
			t.Fatal(err)
		}
		look()
		closeStore(t, s)
		look()
	}
	if seen < 20 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// intruders are things that somebody may put in the place of a file of the store.
// outside is a file that the store must leave alone.
var intruders = map[string]func(path, outside string) error{
	"a link to a file":      func(path, outside string) error { return os.Symlink(outside, path) },
	"a link to nothing":     func(path, outside string) error { return os.Symlink(outside+" made", path) },
	"a link to a directory": func(path, outside string) error { return os.Symlink(filepath.Dir(outside), path) },
	"a pipe":                func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	"a directory":           func(path, _ string) error { return os.Mkdir(path, 0o700) },
	"a socket":              func(path, _ string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	// The device /dev/null, where the user may make one; otherwise a link to it.
	"a device": func(path, _ string) error {
		if unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil {
			return nil
		}
		return os.Symlink(os.DevNull, path)
	},
}

func TestOnlyRegularFilesAreUsed(t *testing.T) {
	t.Parallel()
	clean := t.TempDir()
	s := open(t, clean, tiny())
	if err := liveFully(s); err != nil {
		t.Fatal(err)
	}
	crashed := killed(t, s, clean)
	closeStore(t, s)
	for what, place := range intruders {
		for _, name := range storeNames(t, clean) {
			withIntruder(t, clean, name, what, place)
		}
	}
	for _, name := range storeNames(t, crashed) {
		withIntruder(t, crashed, name, "a link to a file", intruders["a link to a file"])
	}
}

// storeNames names one file of each kind that the store has or may create.
func storeNames(t *testing.T, dir string) []string {
	t.Helper()
	segments := segmentFiles(t, dir)
	first, last := filepath.Base(segments[0]), filepath.Base(segments[len(segments)-1])
	hint := strings.TrimSuffix(first, ".seg") + ".hint"
	lastID, _, _ := segment.ParseFileName(last)
	return []string{
		segment.LockName, segment.ManifestName, segment.ManifestName + ".tmp", segment.ReserveName,
		first, hint, hint + ".tmp", last, segment.HintName(lastID), segment.HintName(lastID) + ".tmp",
		segment.FileName(lastID + 1), segment.FileName(lastID + 2), segment.HintName(lastID+1) + ".tmp",
	}
}

// withIntruder opens and uses a store with an intruder in the place of a file. The
// store may refuse, or do without the file. It must not hang or use the intruder.
func withIntruder(t *testing.T, from, name, what string, place func(path, outside string) error) {
	t.Helper()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, from)
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if err := place(filepath.Join(dir, name), outside); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(10*time.Minute, func() { panic(fmt.Sprintf("the store hangs with %s as %s", what, name)) })
	defer timer.Stop()
	for _, readOnly := range []bool{true, false} {
		options := tiny()
		options.ReadOnly = readOnly
		s, err := Open(dir, options)
		needed := name == segment.ManifestName || name == segment.LockName || name == filepath.Base(segmentFiles(t, from)[0])
		if err == nil && needed {
			t.Errorf("%s as %s: Open takes it", what, name)
		}
		if err != nil {
			continue
		}
		wantFilled(t, s, 0, 50, 101)
		if !readOnly {
			// These calls may fail, but only with an error.
			for i := range 50 {
				key, value := numbered(i, 100)
				_ = s.Put(key, value)
			}
			_ = s.Compact(context.Background())
		}
		s.Close()
	}
	entries, err := os.ReadDir(filepath.Dir(outside))
	if err != nil || len(entries) != 1 {
		t.Errorf("%s as %s: outside there is %v, %v", what, name, entries, err)
	}
	info, err := os.Stat(outside)
	content, readErr := os.ReadFile(outside)
	if errors.Join(err, readErr) != nil || info.Mode() != 0o640 || string(content) != "content" {
		t.Errorf("%s as %s: the file outside is %q, %v", what, name, content, info)
	}
}

func TestStoreStaysInItsDirectory(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir, aside, other := filepath.Join(parent, "store"), filepath.Join(parent, "aside"), filepath.Join(parent, "other")
	s := open(t, dir, tiny())
	fill(t, s, 0, 100, 100)

	// Another store, whose files have the same names, takes the first one's place.
	victim := open(t, other, tiny())
	fill(t, victim, 1000, 1100, 100)
	closeStore(t, victim)
	before := contents(t, other)
	if err := errors.Join(os.Rename(dir, aside), os.Symlink(other, dir)); err != nil {
		t.Fatal(err)
	}
	if err := liveFully(s); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if !slices.Equal(contents(t, other), before) {
		t.Error("the store has changed what now has its name")
	}
	s = open(t, aside, tiny())
	wantFilled(t, s, 0, 50, 101)
}

// contents lists the names and contents of a directory's files.
func contents(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Name(), string(content))
	}
	return all
}

// A file with holes may be longer than all memory.
func TestFilesWithHolesAreRefused(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	s := open(t, from, tiny())
	fill(t, s, 0, 100, 100)
	crashed := killed(t, s, from)
	closeStore(t, s)
	for what, dir := range map[string]string{"closed": from, "killed": crashed} {
		for _, name := range storeNames(t, dir) {
			name = filepath.Join(copyDir(t, dir), name)
			if _, err := os.Stat(name); err != nil {
				continue
			}
			if err := os.Truncate(name, 1<<43); err != nil {
				t.Fatal(err)
			}
			s, err := Open(filepath.Dir(name), tiny())
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
				continue
			}
			wantFilled(t, s, 0, 100, 100)
			closeStore(t, s)
		}
	}
}

func TestEveryMappingStaysOutOfCoreFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	for range 2 {
		if err := liveFully(s); err != nil {
			t.Fatal(err)
		}
		if mapped, bad := dumpedMappings(t, dir); mapped < minMapped || len(bad) > 0 {
			t.Errorf("of %d mappings these get into core files: %q", mapped, bad)
		}
		closeStore(t, s)
		s = open(t, dir, tiny())
	}
}

// dumpedMappings counts the mappings of files below dir, and lists those that the
// kernel would put into a core file.
func dumpedMappings(t *testing.T, dir string) (mapped int, dumped []string) {
	t.Helper()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer smaps.Close()
	ours := ""
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Text()
		flags, isFlags := strings.CutPrefix(line, "VmFlags:")
		switch {
		case strings.Contains(line, " "+dir+"/"):
			ours = line
			mapped++
		case isFlags && ours != "":
			if !slices.Contains(strings.Fields(flags), "dd") {
				dumped = append(dumped, ours)
			}
			ours = ""
		}
	}
	return mapped, dumped
}
