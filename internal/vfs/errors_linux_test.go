package vfs

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEveryErrorNamesThePathAndTheCause(t *testing.T) {
	f := &osFile{fd: -1, path: "the path"}
	d := &osDir{fd: -1, path: "the path"}
	for what, err := range map[string]error{
		"ReadAt":   second(f.ReadAt(make([]byte, 1), 0)),
		"WriteAt":  second(f.WriteAt(make([]byte, 1), 0)),
		"Size":     second(f.Size()),
		"Truncate": f.Truncate(1),
		"Allocate": f.Allocate(1),
		"extend":   f.fail("extend", f.extend(1)),
		"Datasync": f.Datasync(),
		"Names":    second(d.Names()),
		"Sync":     d.Sync(),
		"Close":    d.Close(),
		"Create":   second(d.Create("file")),
		"Lock":     second(d.Lock("LOCK", Exclusive)),
		"Remove":   d.Remove("file"),
		"Rename":   d.Rename("file", "other"),
		"leadsTo":  f.fail("looking", second(d.leadsTo("LOCK", 0))),
	} {
		if !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "the path") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestResidenceOfWhatCannotBeAskedIsWhole(t *testing.T) {
	dir := openDir(t, t.TempDir())
	create(t, dir, "file", "content")
	fd, err := unix.Openat(dir.fd, "file", unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	for _, f := range []*osFile{{fd: -1}, {fd: fd}} {
		if part := Resident(f, 7); part != 1 {
			t.Errorf("descriptor %d: resident part %v, want 1", f.fd, part)
		}
	}
}
