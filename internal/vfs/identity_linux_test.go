package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// awaitTick waits until the clock of file times has advanced.
func awaitTick(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "clock")
	first := int64(0)
	for {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		switch now := info.ModTime().UnixNano(); {
		case first == 0:
			first = now
		case now != first:
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// ext4 gives the inode of a removed file to the next one. The two must have different
// identities.
func TestIdentityWithTheSameInode(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "file")
	d, err := OS().OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	make := func() (Identity, uint64) {
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := IdentityOf(d, "file")
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return id, info.Sys().(*syscall.Stat_t).Ino
	}
	id, inode := make()
	if id.Inode != inode {
		t.Errorf("the inode is %d, but Identity says %d", inode, id.Inode)
	}
	for range 20 {
		before := id
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		awaitTick(t, root)
		if id, _ = make(); id == before {
			t.Fatal("a removed file and a new one have the same identity")
		}
	}
}

// The identity changes neither with the file's mode or links nor with the directory's name.
func TestIdentityStays(t *testing.T) {
	parent := t.TempDir()
	root, path := filepath.Join(parent, "dir"), filepath.Join(parent, "dir", "file")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OS().OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before, err := IdentityOf(d, "file")
	if err != nil {
		t.Fatal(err)
	}
	renamed := filepath.Join(parent, "renamed")
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"another mode", func() error { return os.Chmod(path, 0o640) }},
		{"a hard link", func() error { return os.Link(path, filepath.Join(parent, "link")) }},
		{"a new name of the directory", func() error { return os.Rename(root, renamed) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if after, err := IdentityOf(d, "file"); err != nil || after != before {
			t.Errorf("%s: the identity changed from %+v to %+v, %v", c.what, before, after, err)
		}
	}
}

// The stamp changes with the names, and says when the directory was removed.
func TestStamp(t *testing.T) {
	root := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := OS().OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	stamp := func() Stamp {
		s, err := StampOf(d)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := stamp()
	if now := stamp(); now != before || now.Removed {
		t.Errorf("the stamp went from %+v to %+v without a change", before, now)
	}
	awaitTick(t, root) // creates a file and removes it
	if now := stamp(); now == before {
		t.Error("names changed but the stamp did not")
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if !stamp().Removed {
		t.Error("the stamp does not say that the directory was removed")
	}
}

// Of a directory that was closed nobody can tell whether anything has changed.
func TestStampOfAClosedDirectory(t *testing.T) {
	root := t.TempDir()
	d, err := OS().OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	stamp, err := StampOf(d)
	var at *fs.PathError
	if !errors.Is(err, syscall.EBADF) || !errors.As(err, &at) || at.Path != root || stamp != (Stamp{}) {
		t.Errorf("the stamp is %+v, %v", stamp, err)
	}
}
