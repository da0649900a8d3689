package vfstest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

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
