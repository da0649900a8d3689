package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// awaitTick waits until the system's clock for files has gone on.
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

// ext4 gives the inode of a file that is gone to the next one, which is another file.
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
		t.Errorf("inode %d is said to be %d", inode, id.Inode)
	}
	for range 20 {
		before := id
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		awaitTick(t, root)
		if id, _ = make(); id == before {
			t.Fatal("a file that is gone and a new one are the same")
		}
	}
}

// What is neither another file nor another place leaves the identity alone.
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
		{"another name of the directory", func() error { return os.Rename(root, renamed) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if after, err := IdentityOf(d, "file"); err != nil || after != before {
			t.Errorf("%s: %+v is %+v, %v", c.what, before, after, err)
		}
	}
}

// The stamp changes with the names, and says when there is no directory any more.
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
		t.Errorf("%+v is %+v, and nothing has changed", before, now)
	}
	awaitTick(t, root) // makes a file and removes it
	if now := stamp(); now == before {
		t.Error("names have changed, and the stamp has not")
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if !stamp().Removed {
		t.Error("the directory is removed, and the stamp does not say so")
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
