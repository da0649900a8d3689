// Package vfstest checks that a file system, real or test disk, keeps the promises of package
// vfs.
//
// What must hold: every promise that a program can observe without a power cut has a subtest
// here. The real file system's own tests check what only it refuses, symbolic links for
// instance. The tests of crashfs check what a power cut leaves.
package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Run checks the file systems that newFS makes. Each subtest asks for its own, with an empty
// directory, root, in it.
func Run(t *testing.T, newFS func(t *testing.T) (fsys vfs.FS, root string)) {
	for _, c := range []struct {
		name string
		run  func(d *disk)
	}{
		{"NamesThatReachOutAreRefused", namesThatReachOutAreRefused},
		{"OddNamesAreNames", oddNamesAreNames},
		{"WhatIsAbsentIsErrNotExist", whatIsAbsentIsErrNotExist},
		{"WhatIsTakenIsErrExist", whatIsTakenIsErrExist},
		{"DirectoriesAreNotFiles", directoriesAreNotFiles},
		{"NamesAreSorted", namesAreSorted},
		{"RenameReplaces", renameReplaces},
		{"IdentityIsOfTheFile", identityIsOfTheFile},
		{"HandlesOutliveTheirNames", handlesOutliveTheirNames},
		{"ReadsEndWithTheFile", readsEndWithTheFile},
		{"HandlesShareTheFile", handlesShareTheFile},
		{"ReadOnlyChangesNothing", readOnlyChangesNothing},
		{"NegativeNumbersAreRefused", negativeNumbersAreRefused},
		{"TruncateCutsAndExtends", truncateCutsAndExtends},
		{"AllocateExtendsAndNeverShortens", allocateExtendsAndNeverShortens},
		{"MappingShowsLaterWrites", mappingShowsLaterWrites},
		{"MappingShowsWhatTheFileGrowsBy", mappingShowsWhatTheFileGrowsBy},
		{"MappingShowsTruncation", mappingShowsTruncation},
		{"MappingOutlivesFileAndName", mappingOutlivesFileAndName},
		{"UnmapIsForOneMapping", unmapIsForOneMapping},
		{"LockExcludes", lockExcludes},
		{"LockKeepsItsFile", lockKeepsItsFile},
		{"MkdirAllMakesParents", mkdirAllMakesParents},
		{"ManyGoroutines", manyGoroutines},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, root := newFS(t)
			d := &disk{T: t, fsys: fsys, root: root}
			d.dir = d.openDir(root)
			c.run(d)
		})
	}
}

// disk is a file system under test. What its methods open is closed when the test ends.
type disk struct {
	*testing.T
	fsys vfs.FS
	root string
	dir  vfs.Dir
}

func (d *disk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// want checks an error, and that its text contains the name.
func (d *disk) want(what string, err, want error, name string) {
	d.Helper()
	switch {
	case !errors.Is(err, want):
		d.Errorf("%s: %v, want %v", what, err, want)
	case !strings.Contains(err.Error(), name):
		d.Errorf("%s: %q does not name %s", what, err, name)
	}
}

func (d *disk) wantNames(want ...string) {
	d.Helper()
	names, err := d.dir.Names()
	d.must(err)
	if !slices.Equal(names, want) {
		d.Errorf("the directory holds %q, want %q", names, want)
	}
}

func (d *disk) path(name string) string { return filepath.Join(d.root, name) }

func (d *disk) openDir(path string) vfs.Dir {
	d.Helper()
	dir, err := d.fsys.OpenDir(path)
	d.must(err)
	d.Cleanup(func() { d.must(dir.Close()) })
	return dir
}

// keep closes the file when the test ends.
func (d *disk) keep(f vfs.File, err error) vfs.File {
	d.Helper()
	d.must(err)
	d.Cleanup(func() { d.must(f.Close()) })
	return f
}

func (d *disk) create(name, content string) vfs.File {
	d.Helper()
	f := d.keep(d.dir.Create(name))
	d.write(f, content, 0)
	return f
}

func (d *disk) write(f vfs.File, content string, offset int64) {
	d.Helper()
	n, err := vfs.WriteFull(f, []byte(content), offset)
	d.must(err)
	if n != len(content) {
		d.Fatalf("WriteFull wrote %d bytes of %d", n, len(content))
	}
}

func (d *disk) wantContent(f vfs.File, want string) {
	d.Helper()
	size, err := f.Size()
	d.must(err)
	if size != int64(len(want)) {
		d.Errorf("the file has %d bytes, want %d", size, len(want))
	}
	got := make([]byte, len(want)+1)
	n, err := f.ReadAt(got, 0)
	if err != io.EOF {
		d.Errorf("reading past the end: %v", err)
	}
	if string(got[:n]) != want {
		d.Errorf("the file holds %q, want %q", got[:n], want)
	}
}

func (d *disk) mapFile(f vfs.File, size int64) vfs.Mapping {
	d.Helper()
	m, err := f.Map(size)
	d.must(err)
	if int64(len(m.Bytes())) != size {
		d.Fatalf("a mapping of %d bytes has %d", size, len(m.Bytes()))
	}
	return m
}

func (d *disk) wantBytes(m vfs.Mapping, offset int, want string) {
	d.Helper()
	if got := m.Bytes()[offset:][:len(want)]; string(got) != want {
		d.Errorf("at %d the mapping shows %q, want %q", offset, got, want)
	}
}

func second[T any](_ T, err error) error { return err }

func zeros(n int) string { return strings.Repeat("\x00", n) }

func namesThatReachOutAreRefused(d *disk) {
	d.must(d.fsys.Mkdir(d.path("inside")))
	d.create("file", "content")
	inside := d.openDir(d.path("inside"))
	for _, name := range []string{"", ".", "..", "/", "../file", "inside/x", "./x", "/x", "x/", "x\x00y"} {
		for what, err := range map[string]error{
			"create":         second(inside.Create(name)),
			"open":           second(inside.Open(name)),
			"open read-only": second(inside.OpenReadOnly(name)),
			"rename from":    inside.Rename(name, "y"),
			"remove":         inside.Remove(name),
			"lock":           second(inside.Lock(name, vfs.Exclusive)),
			"shared lock":    second(inside.Lock(name, vfs.Shared)),
		} {
			if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
				d.Errorf("%s %q: %v", what, name, err)
			}
		}
		if err := d.dir.Rename("file", name); err == nil {
			d.Errorf("a file was renamed to %q", name)
		}
	}
	names, err := inside.Names()
	d.must(err)
	if len(names) > 0 {
		d.Errorf("refused calls left %q", names)
	}
	d.wantNames("file", "inside")
}

func oddNamesAreNames(d *disk) {
	names := []string{"...", ".hidden", " ", "-rf", `a\b`, "a:b", "new\nline", "ä", strings.Repeat("n", 255)}
	for _, name := range names {
		d.create(name, name)
	}
	for _, name := range names {
		d.wantContent(d.keep(d.dir.OpenReadOnly(name)), name)
	}
	d.wantNames(slices.Sorted(slices.Values(names))...)
}

func whatIsAbsentIsErrNotExist(d *disk) {
	for what, err := range map[string]error{
		"open":            second(d.dir.Open("absent")),
		"open read-only":  second(d.dir.OpenReadOnly("absent")),
		"remove":          d.dir.Remove("absent"),
		"rename":          d.dir.Rename("absent", "other"),
		"shared lock":     second(d.dir.Lock("absent", vfs.Shared)),
		"open directory":  second(d.fsys.OpenDir(d.path("absent"))),
		"mkdir inside it": d.fsys.Mkdir(d.path("absent/inside")),
	} {
		d.want(what, err, fs.ErrNotExist, "absent")
		d.want(what, err, syscall.ENOENT, "absent")
	}
	d.wantNames()
}

func whatIsTakenIsErrExist(d *disk) {
	d.must(d.fsys.Mkdir(d.path("directory")))
	f := d.create("file", "content")
	for what, err := range map[string]error{
		"create over a file":      second(d.dir.Create("file")),
		"mkdir over a file":       d.fsys.Mkdir(d.path("file")),
		"create over a directory": second(d.dir.Create("directory")),
		"mkdir over a directory":  d.fsys.Mkdir(d.path("directory")),
	} {
		name := what[strings.LastIndex(what, " ")+1:]
		d.want(what, err, fs.ErrExist, name)
		d.want(what, err, syscall.EEXIST, name)
	}
	d.wantContent(f, "content")
	d.wantNames("directory", "file")
}

func directoriesAreNotFiles(d *disk) {
	d.must(d.fsys.Mkdir(d.path("directory")))
	f := d.create("file", "content")
	for what, err := range map[string]error{
		"open":                       second(d.dir.Open("directory")),
		"open read-only":             second(d.dir.OpenReadOnly("directory")),
		"lock":                       second(d.dir.Lock("directory", vfs.Exclusive)),
		"shared lock":                second(d.dir.Lock("directory", vfs.Shared)),
		"remove":                     d.dir.Remove("directory"),
		"rename over it":             d.dir.Rename("file", "directory"),
		"open a file as a directory": second(d.fsys.OpenDir(d.path("file"))),
		"mkdir in a file":            d.fsys.Mkdir(d.path("file/x")),
	} {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			d.Errorf("%s: %v", what, err)
		}
	}
	d.wantContent(f, "content")
	d.wantNames("directory", "file")
}

func namesAreSorted(d *disk) {
	d.wantNames()
	var want []string
	for i := range 50 {
		name := fmt.Sprintf("%02d", i*37%50)
		d.create(name, "")
		want = append(want, name)
	}
	d.must(d.fsys.Mkdir(d.path("1x")))
	slices.Sort(want)
	want = slices.Insert(want, 20, "1x")
	d.wantNames(want...)
	d.wantNames(want...)
	d.must(d.dir.Remove("00"))
	d.wantNames(want[1:]...)
	d.must(d.dir.Sync())
}

func renameReplaces(d *disk) {
	moved := d.create("new", "moved")
	replaced := d.create("old", "replaced")
	d.must(d.dir.Rename("new", "old"))
	d.wantNames("old")
	d.wantContent(d.keep(d.dir.Open("old")), "moved")
	d.wantContent(moved, "moved")
	d.wantContent(replaced, "replaced")
	d.must(d.dir.Rename("old", "old"))
	d.wantNames("old")
	d.wantContent(d.keep(d.dir.Open("old")), "moved")
	d.must(d.dir.Sync())
}

func identityIsOfTheFile(d *disk) {
	identity := func(name string) vfs.Identity {
		id, err := vfs.IdentityOf(d.dir, name)
		d.must(err)
		return id
	}
	f := d.create("file", "content")
	first := identity("file")
	d.write(f, "more", 7)
	d.must(f.Truncate(2))
	d.must(f.Datasync())
	d.must(d.dir.Rename("file", "other"))
	if identity("other") != first {
		d.Error("writing to a file and renaming it changed its identity")
	}
	d.create("file", "content")
	second := identity("file")
	if second == first {
		d.Error("two files have the same identity")
	}
	d.must(d.dir.Rename("file", "other"))
	if identity("other") != second {
		d.Error("a name that was given to another file has the old identity")
	}
	_, err := vfs.IdentityOf(d.dir, "file")
	d.want("Identity", err, fs.ErrNotExist, "file")
	for _, name := range []string{"", ".", "..", "a/b"} {
		if _, err := vfs.IdentityOf(d.dir, name); err == nil {
			d.Errorf("Identity(%q) returned no error", name)
		}
	}
}

func handlesOutliveTheirNames(d *disk) {
	dir, err := d.fsys.OpenDir(d.root)
	d.must(err)
	f := d.keep(dir.Create("file"))
	d.must(dir.Close())
	d.write(f, "one", 0)
	d.must(d.dir.Remove("file"))
	d.wantNames()
	d.write(f, "two", 3)
	d.must(f.Datasync())
	d.wantContent(f, "onetwo")

	again := d.create("file", "another")
	d.wantContent(f, "onetwo")
	d.wantContent(again, "another")
}

func readsEndWithTheFile(d *disk) {
	f := d.create("file", "")
	d.wantContent(f, "")
	d.write(f, "behind a hole", 10)
	d.wantContent(f, zeros(10)+"behind a hole")
	d.write(f, "over", 8)
	d.wantContent(f, zeros(8)+"overhind a hole")

	p := make([]byte, 4)
	for _, c := range []struct {
		offset int64
		n      int
		err    error
	}{{8, 4, nil}, {19, 4, nil}, {20, 3, io.EOF}, {23, 0, io.EOF}, {1 << 40, 0, io.EOF}} {
		if n, err := f.ReadAt(p, c.offset); n != c.n || err != c.err {
			d.Errorf("4 bytes at %d of 23: %d, %v", c.offset, n, err)
		}
	}
	if n, err := f.ReadAt(nil, 8); n != 0 || err != nil {
		d.Errorf("reading nothing: %d, %v", n, err)
	}
	if n, err := f.WriteAt(nil, 8); n != 0 || err != nil {
		d.Errorf("writing nothing: %d, %v", n, err)
	}
	d.wantContent(f, zeros(8)+"overhind a hole")
}

func handlesShareTheFile(d *disk) {
	f := d.create("file", "content")
	other := d.keep(d.openDir(d.root).Open("file"))
	d.write(other, "C", 0)
	d.wantContent(f, "Content")
	d.must(f.Truncate(4))
	d.wantContent(other, "Cont")
	d.must(other.Datasync())
	d.must(d.dir.Rename("file", "renamed"))
	d.write(other, "E", 1)
	d.wantContent(d.keep(d.dir.OpenReadOnly("renamed")), "CEnt")
}

func readOnlyChangesNothing(d *disk) {
	d.create("file", "content")
	f := d.keep(d.dir.OpenReadOnly("file"))
	for what, err := range map[string]error{
		"write":    second(f.WriteAt([]byte("x"), 0)),
		"truncate": f.Truncate(1),
		"allocate": f.Allocate(100),
	} {
		if err == nil || !strings.Contains(err.Error(), "file") {
			d.Errorf("%s through a read-only handle: %v", what, err)
		}
	}
	d.must(f.Datasync())
	d.wantContent(f, "content")
	m := d.mapFile(f, 7)
	d.wantBytes(m, 0, "content")
	d.must(m.Unmap())
}

func negativeNumbersAreRefused(d *disk) {
	f := d.create("file", "content")
	for what, err := range map[string]error{
		"read":     second(f.ReadAt(make([]byte, 1), -1)),
		"write":    second(f.WriteAt([]byte("x"), -1)),
		"truncate": f.Truncate(-1),
		"allocate": f.Allocate(-1),
		"map":      second(f.Map(-1)),
		"map of 0": second(f.Map(0)),
	} {
		d.want(what, err, syscall.EINVAL, "file")
	}
	d.wantContent(f, "content")
}

func truncateCutsAndExtends(d *disk) {
	f := d.create("file", "0123456789")
	d.must(f.Truncate(4))
	d.wantContent(f, "0123")
	d.must(f.Truncate(8))
	d.wantContent(f, "0123"+zeros(4))
	d.must(f.Truncate(8))
	d.write(f, "x", 9)
	d.wantContent(f, "0123"+zeros(5)+"x")
	d.must(f.Truncate(0))
	d.wantContent(f, "")
	d.must(f.Truncate(20_000))
	d.wantContent(f, zeros(20_000))
}

func allocateExtendsAndNeverShortens(d *disk) {
	f := d.create("file", "content")
	for _, size := range []int64{0, 1, 7} {
		d.must(f.Allocate(size))
		d.wantContent(f, "content")
	}
	d.must(f.Allocate(10_000))
	d.wantContent(f, "content"+zeros(10_000-7))
	d.write(f, "tail", 9_996)
	d.must(f.Allocate(100))
	d.must(f.Allocate(10_000))
	d.wantContent(f, "content"+zeros(9_996-7)+"tail")
	d.must(f.Truncate(7))
	d.wantContent(f, "content")
	d.must(f.Allocate(9_999))
	d.wantContent(f, "content"+zeros(9_999-7))
}

func mappingShowsLaterWrites(d *disk) {
	f := d.create("file", "0123456789")
	early := d.mapFile(f, 10)
	d.wantBytes(early, 0, "0123456789")
	d.write(f, "ab", 2)
	d.wantBytes(early, 0, "01ab456789")
	d.write(d.keep(d.dir.Open("file")), "cd", 4)
	late := d.mapFile(d.keep(d.dir.OpenReadOnly("file")), 10)
	for _, m := range []vfs.Mapping{early, late} {
		d.wantBytes(m, 0, "01abcd6789")
	}
	d.write(f, "ef", 6)
	for _, m := range []vfs.Mapping{early, late} {
		d.wantBytes(m, 0, "01abcdef89")
		d.must(m.Unmap())
	}
}

func mappingShowsWhatTheFileGrowsBy(d *disk) {
	const size = 100_000
	f := d.create("file", "start")
	whole, part := d.mapFile(f, size), d.mapFile(f, 40_000)
	d.wantBytes(whole, 0, "start")
	d.must(f.Allocate(50_000))
	d.wantBytes(whole, 5, zeros(50_000-5))
	d.write(f, "middle", 39_997)
	d.wantBytes(whole, 39_997, "middle")
	d.wantBytes(part, 39_997, "mid")
	d.write(f, "end", size-3)
	d.wantBytes(whole, size-3, "end")
	d.wantBytes(whole, 50_000, zeros(size-3-50_000))
	d.write(f, "behind both", size)
	d.wantBytes(whole, 0, "start")
	d.must(whole.Unmap())
	d.must(part.Unmap())
}

func mappingShowsTruncation(d *disk) {
	f := d.create("file", strings.Repeat("x", 20_000))
	m := d.mapFile(f, 30_000)
	d.must(f.Truncate(5_000))
	d.wantBytes(m, 0, strings.Repeat("x", 5_000))
	d.must(f.Truncate(30_000))
	d.wantBytes(m, 0, strings.Repeat("x", 5_000)+zeros(25_000))
	d.must(m.Unmap())
}

func mappingOutlivesFileAndName(d *disk) {
	f, err := d.dir.Create("file")
	d.must(err)
	d.write(f, "content", 0)
	m := d.mapFile(f, 7)
	d.must(f.Close())
	d.wantBytes(m, 0, "content")
	d.must(d.dir.Remove("file"))
	d.create("other", "another") // must not take the old file's place
	d.wantBytes(m, 0, "content")
	d.must(m.Unmap())
}

func unmapIsForOneMapping(d *disk) {
	f := d.create("file", "content")
	first, other := d.mapFile(f, 7), d.mapFile(f, 7)
	d.must(first.Unmap())
	d.want("unmapping again", first.Unmap(), syscall.EINVAL, "")
	d.write(f, "C", 0)
	d.wantBytes(other, 0, "Content")
	d.must(other.Unmap())
	d.wantContent(f, "Content")
}

func lockExcludes(d *disk) {
	other := d.openDir(d.root)
	take := func(dir vfs.Dir, mode vfs.LockMode) vfs.Lock {
		d.Helper()
		l, err := dir.Lock("LOCK", mode)
		d.must(err)
		return l
	}
	refused := func(mode vfs.LockMode) {
		d.Helper()
		for _, dir := range []vfs.Dir{d.dir, other} {
			d.want("lock", second(dir.Lock("LOCK", mode)), vfs.ErrLocked, "LOCK")
		}
	}

	exclusive := take(d.dir, vfs.Exclusive)
	refused(vfs.Exclusive)
	refused(vfs.Shared)
	another, err := d.dir.Lock("ANOTHER", vfs.Exclusive)
	d.must(err)
	d.must(another.Unlock())
	d.must(exclusive.Unlock())

	first, then := take(other, vfs.Shared), take(d.dir, vfs.Shared)
	refused(vfs.Exclusive)
	d.must(first.Unlock())
	refused(vfs.Exclusive)
	d.must(then.Unlock())

	d.must(take(other, vfs.Exclusive).Unlock())
}

func lockKeepsItsFile(d *disk) {
	exclusive, err := d.dir.Lock("LOCK", vfs.Exclusive)
	d.must(err)
	d.must(exclusive.Unlock())
	d.wantNames("LOCK")

	const content = "what stands here means nothing"
	d.create("USED", content)
	for _, mode := range []vfs.LockMode{vfs.Exclusive, vfs.Shared} {
		l, err := d.dir.Lock("USED", mode)
		d.must(err)
		d.wantContent(d.keep(d.dir.Open("USED")), content)
		d.must(l.Unlock())
	}
	d.wantContent(d.keep(d.dir.Open("USED")), content)
}

func mkdirAllMakesParents(d *disk) {
	made, err := vfs.MkdirAll(d.fsys, d.path("a/b/c"))
	d.must(err)
	if want := []string{d.path("a"), d.path("a/b"), d.path("a/b/c")}; !slices.Equal(made, want) {
		d.Errorf("made %q, want %q", made, want)
	}
	made, err = vfs.MkdirAll(d.fsys, d.path("a/b/d")+"/")
	d.must(err)
	if want := []string{d.path("a/b/d")}; !slices.Equal(made, want) {
		d.Errorf("made %q, want %q", made, want)
	}
	made, err = vfs.MkdirAll(d.fsys, d.path("a/b"))
	d.must(err)
	if len(made) > 0 {
		d.Errorf("made %q, which existed", made)
	}
	d.create("file", "content")
	for _, path := range []string{"file", "file/a", "file/a/b"} {
		if made, err := vfs.MkdirAll(d.fsys, d.path(path)); err == nil || len(made) > 0 {
			d.Errorf("%s: made %q, %v", path, made, err)
		}
	}
	d.must(vfs.SyncParents(d.fsys, d.path("a/b/c")))
}

func manyGoroutines(d *disk) {
	const writers, pieces, pieceSize = 4, 20, 1000
	f := d.create("shared", "")
	m := d.mapFile(f, writers*pieces*pieceSize)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range pieces {
				piece := bytes.Repeat([]byte{byte(1 + w)}, pieceSize)
				offset := (i*writers + w) * pieceSize
				if _, err := vfs.WriteFull(f, piece, int64(offset)); err != nil {
					d.Error(err)
				}
				if !bytes.Equal(m.Bytes()[offset:][:pieceSize], piece) {
					d.Errorf("writer %d does not see piece %d in the mapping", w, i)
				}
			}
			name := fmt.Sprint("own", w)
			own, err := d.dir.Create(name)
			if err != nil {
				d.Error(err)
				return
			}
			if err := errors.Join(own.Datasync(), own.Close(), d.dir.Sync(), d.dir.Rename(name, name+"x")); err != nil {
				d.Error(err)
			}
		})
	}
	all.Wait()
	for i := range writers * pieces {
		d.wantBytes(m, i*pieceSize, strings.Repeat(string(rune(1+i%writers)), pieceSize))
	}
	d.must(m.Unmap())
	d.wantNames("own0x", "own1x", "own2x", "own3x", "shared")
}
