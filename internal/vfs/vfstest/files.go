package vfstest

import (
	"io"
	"strings"
	"syscall"
)

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
