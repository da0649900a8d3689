package vfs_test

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

func only(calls []errorfs.Op, kinds ...errorfs.Kind) (names []string) {
	for _, c := range calls {
		if slices.Contains(kinds, c.Kind) {
			names = append(names, c.Kind.String()+" "+c.Name)
		}
	}
	return names
}

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestMkdirAllSyncsEachParentAtOnce(t *testing.T) {
	d := errorfs.New(crashfs.New())
	if _, err := vfs.MkdirAll(d, "/a/b/c"); err != nil {
		t.Fatal(err)
	}
	want(t, "the calls", only(d.Calls(), errorfs.Mkdir, errorfs.SyncDir), []string{
		"mkdir /a", "sync directory /", "mkdir /a/b", "sync directory /a", "mkdir /a/b/c", "sync directory /a/b"})
}

func TestMkdirAllFailsAtEachCall(t *testing.T) {
	all := []string{"/a", "/a/b", "/a/b/c"}
	d := errorfs.New(crashfs.New())
	if made, err := vfs.MkdirAll(d, "/a/b/c"); err != nil || !slices.Equal(made, all) {
		t.Fatalf("made %q, %v", made, err)
	}
	for n := range d.Count() {
		inner := crashfs.New()
		d := errorfs.New(inner)
		d.Fail(errorfs.Rule{Nth: n + 1, Err: syscall.EIO})
		made, err := vfs.MkdirAll(d, "/a/b/c")
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d failed, and MkdirAll returned %v", n+1, err)
		}
		if held := inner.Held(); held > 0 {
			t.Errorf("call %d failed, and %d directories are still open", n+1, held)
		}
		var there []string
		for _, name := range all {
			if dir, err := inner.OpenDir(name); err == nil {
				there = append(there, name)
				if err := dir.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		want(t, "what was made", made, there)
		d.Heal()
		if made, err = vfs.MkdirAll(d, "/a/b/c"); err != nil || !slices.Equal(append(there, made...), all) {
			t.Errorf("the second time made %q, %v", made, err)
		}
	}
}

func TestMkdirAllSyncsWhatAnotherMadeMeanwhile(t *testing.T) {
	inner := crashfs.New()
	if err := inner.Mkdir("/a"); err != nil {
		t.Fatal(err)
	}
	d := errorfs.New(inner)
	d.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.OpenDir), Err: syscall.ENOENT}) // not there yet
	made, err := vfs.MkdirAll(d, "/a")
	if err != nil || len(made) > 0 {
		t.Errorf("made %q, %v", made, err)
	}
	want(t, "the calls", only(d.Calls(), errorfs.Mkdir, errorfs.SyncDir), []string{"mkdir /a", "sync directory /"})
}

func TestSyncParentsSyncsUpToTheRoot(t *testing.T) {
	for _, c := range []struct {
		kind  errorfs.Kind
		errno syscall.Errno
		want  error
		calls []string
	}{
		{errorfs.SyncDir, 0, nil, []string{"/a/b", "/a", "/"}},
		{errorfs.SyncDir, syscall.EINVAL, nil, []string{"/a/b", "/a", "/"}},
		{errorfs.SyncDir, syscall.EIO, syscall.EIO, []string{"/a/b", "/a"}},
		{errorfs.OpenDir, syscall.EACCES, nil, []string{"/a/b"}},
		{errorfs.OpenDir, syscall.EMFILE, syscall.EMFILE, []string{"/a/b"}},
		{errorfs.OpenDir, syscall.ENOENT, fs.ErrNotExist, []string{"/a/b"}},
	} {
		inner := crashfs.New()
		if _, err := vfs.MkdirAll(inner, "/a/b/c"); err != nil {
			t.Fatal(err)
		}
		d := errorfs.New(inner)
		if c.errno != 0 {
			d.Fail(errorfs.Rule{Match: func(o errorfs.Op) bool { return o.Kind == c.kind && o.Name == "/a" }, Err: c.errno})
		}
		if err := vfs.SyncParents(d, "/a/b/c"); !errors.Is(err, c.want) {
			t.Errorf("%v of /a fails with %v: %v", c.kind, c.errno, err)
		}
		var calls []string
		for _, o := range d.Calls() {
			if o.Kind == errorfs.SyncDir {
				calls = append(calls, path.Clean(o.Name))
			}
		}
		want(t, "the calls", calls, c.calls)
		if held := inner.Held(); held > 0 {
			t.Errorf("%v of /a fails with %v, and %d directories are still open", c.kind, c.errno, held)
		}
	}
}
