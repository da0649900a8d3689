package vfstest

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

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
