//go:build linux

package realdisk

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// TestPagesAreReadOneByOne checks that a page fault and Populate read only the requested pages.
// With little memory, reading the pages around them would evict others.
func TestPagesAreReadOneByOne(t *testing.T) {
	if !alone(t) {
		return
	}
	const size, page = 8 << 20, 4 << 10
	d := newDisk(t)
	dir, err := vfs.OS().OpenDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := os.WriteFile(filepath.Join(d.dir, "pages"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := dir.Open("pages")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	m, err := f.Map(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmap()
	vfs.Evict(f)
	before := vfs.Resident(f, size)
	if before == 1 {
		lacks(t, "a system that says which pages are in memory")
	}
	read := func(what string, limit float64) {
		t.Helper()
		now := vfs.Resident(f, size)
		if got := (now - before) * size; got > limit {
			t.Errorf("%s read %.0f bytes", what, got)
		}
		before = now
	}
	if m.Bytes()[size/2] != 0 {
		t.Error("the mapping does not show what was written")
	}
	read("a page fault", page)
	vfs.Populate(m, size/4, size/4+2*page)
	read("populating two pages", 2*page)
	vfs.Populate(m, 0, size)
	if now := vfs.Resident(f, size); now < 1 {
		t.Errorf("all pages were populated, but only %v of them are in memory", now)
	}
}

// TestFirstWritesAreSlow checks that SlowFirstWrite is true on ext4 and xfs, where Allocate
// reserves blocks that later writes use without more space, and false elsewhere.
func TestFirstWritesAreSlow(t *testing.T) {
	if !alone(t) {
		return
	}
	slow := func(path string) bool {
		t.Helper()
		dir, err := vfs.OS().OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		f, err := dir.Create("first")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Allocate(64 << 10); err != nil {
			t.Fatal(err)
		}
		return f.SlowFirstWrite()
	}
	old := ext4
	old.mkfs = append(slices.Clone(ext4.mkfs), "-O", "^extents,^64bit")
	for _, kind := range []fileSystem{ext4, xfs} {
		if !slow(newDiskOf(t, kind).dir) {
			t.Errorf("SlowFirstWrite is false on %s", kind.name)
		}
	}
	if slow(newDiskOf(t, old).dir) {
		t.Error("SlowFirstWrite is true on an ext4 that cannot reserve blocks")
	}
	memory := t.TempDir()
	mountTmpfs(t, memory, 1<<20)
	if slow(memory) {
		t.Error("SlowFirstWrite is true on tmpfs")
	}
}
