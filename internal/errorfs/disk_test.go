package errorfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// script makes every kind of call once and returns the first error.
func script(d vfs.FS) (err error) {
	if err = d.Mkdir("/a"); err != nil {
		return err
	}
	dir, err := d.OpenDir("/a")
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.Create("f")
	if err != nil {
		return err
	}
	defer f.Close()
	steps := []func() error{
		func() error { return f.Allocate(100) },
		func() error { _, err := f.WriteAt([]byte("content"), 0); return err },
		func() error { _, err := f.ReadAt(make([]byte, 7), 0); return err },
		func() error { _, err := f.Size(); return err },
		func() error { return f.Truncate(50) },
		f.Datasync,
		func() error { return dir.Rename("f", "g") },
		dir.Sync,
		func() error { _, err := dir.Names(); return err },
		func() error { _, err := vfs.IdentityOf(dir, "g"); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	m, err := f.Map(10)
	if err != nil {
		return err
	}
	defer m.Unmap()
	l, err := dir.Lock("LOCK", vfs.Exclusive)
	if err != nil {
		return err
	}
	defer l.Unlock()
	g, err := dir.Open("g")
	if err != nil {
		return err
	}
	defer g.Close()
	return dir.Remove("g")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryCallFailsOnce(t *testing.T) {
	d := New(crashfs.New())
	must(t, script(d))
	calls := d.Calls()
	kinds := map[Kind]bool{}
	for _, c := range calls {
		kinds[c.Kind] = true
	}
	for k := OpenDir; k <= Identify; k++ {
		if !kinds[k] {
			t.Errorf("the script does not %v", k)
		}
	}
	for n := range calls {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			inner := crashfs.New()
			d := New(inner)
			d.Fail(Rule{Nth: n + 1, Err: errno})
			err := script(d)
			var at *fs.PathError
			if !errors.Is(err, errno) || !errors.As(err, &at) || at.Path != calls[n].Name || at.Op != calls[n].Kind.String() {
				t.Errorf("%v: %v", calls[n], err)
			}
			if d.Fired() != 1 || d.Count() != n+1 && calls[n].Kind != Allocate {
				t.Errorf("%v: fired %d times, %d calls", calls[n], d.Fired(), d.Count())
			}
			if inner.Held() != 0 {
				t.Errorf("%v: %d handles left open", calls[n], inner.Held())
			}
		}
	}
}

func files(t *testing.T) (*crashfs.Disk, *Disk, vfs.Dir, vfs.File) {
	t.Helper()
	inner := crashfs.New()
	d := New(inner)
	dir, err := d.OpenDir("/")
	must(t, err)
	f, err := dir.Create("f")
	must(t, err)
	must(t, f.Datasync())
	must(t, dir.Sync())
	return inner, d, dir, f
}

func TestFailForever(t *testing.T) {
	_, d, _, f := files(t)
	d.Fail(Rule{Match: Only(Datasync), Nth: 2, Forever: true, Err: syscall.EIO})
	must(t, f.Datasync())
	for range 3 {
		_, err := f.WriteAt([]byte("x"), 0)
		must(t, err)
		if err := f.Datasync(); !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	}
	if d.Fired() != 3 {
		t.Errorf("fired %d times", d.Fired())
	}
	d.Heal()
	must(t, f.Datasync())
}

func TestShortWriteThenFullDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		inner, d, dir, f := files(t)
		g, err := dir.Create("g")
		must(t, err)
		d.Fail(Rule{Nth: 2, Short: true, Err: errno})
		must(t, g.Datasync()) // not a write, so not counted
		_, err = f.WriteAt([]byte("one"), 0)
		must(t, err)
		if n, err := f.WriteAt([]byte("second"), 3); n != 3 || err != nil {
			t.Errorf("short write: %d, %v", n, err)
		}
		if n, err := g.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, errno) {
			t.Errorf("write after the short one: %d, %v", n, err)
		}
		_, err = g.WriteAt([]byte("x"), 0)
		must(t, err)
		if got := string(inner.Bytes("f")); got != "onesec" {
			t.Errorf("%q", got)
		}
		d.Heal()
		d.Fail(Rule{Short: true, Forever: true, Err: errno})
		if n, err := vfs.WriteFull(f, []byte("longer"), 0); n != 3 || !errors.Is(err, errno) {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := f.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, errno) {
			t.Errorf("%d, %v", n, err)
		}
	}
}

func TestFailedWriteMayHaveWrittenAPart(t *testing.T) {
	inner, d, _, f := files(t)
	d.Fail(Rule{Match: Only(Write), Err: syscall.EIO})
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("%d, %v", n, err)
	}
	d.Fail(Rule{Match: Only(Write), Err: syscall.ENOSPC})
	if n, err := f.WriteAt([]byte("efgh"), 2); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
	d.Fail(Rule{Match: Only(Allocate), Err: syscall.ENOSPC})
	if err := f.Allocate(12); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if got := string(inner.Bytes("f")); got != "ab"+strings.Repeat("\x00", 5) {
		t.Errorf("%q", got)
	}
}

func TestFailedSyncLosesWhatWasWritten(t *testing.T) {
	inner, d, _, f := files(t)
	_, err := f.WriteAt([]byte("lost"), 0)
	must(t, err)
	d.Fail(Rule{Match: Only(Datasync), Err: syscall.EIO})
	if err := f.Datasync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	must(t, f.Datasync())
	if got := string(inner.Bytes("f")); got != "lost" {
		t.Errorf("reads show %q", got)
	}
	if got := string(inner.PowerCut(crashfs.KeepAll).Bytes("f")); got != "\x00\x00\x00\x00" {
		t.Errorf("after the power cut %q", got)
	}
}

func TestThroughHappensAndFails(t *testing.T) {
	inner, d, dir, f := files(t)
	for _, c := range []struct {
		kind Kind
		call func() error
	}{
		{Create, func() error { _, err := dir.Create("new"); return err }},
		{Rename, func() error { return dir.Rename("new", "newer") }},
		{SyncDir, dir.Sync},
		{Allocate, func() error { return f.Allocate(10) }},
		{Truncate, func() error { return f.Truncate(5) }},
		{Datasync, f.Datasync},
		{Mkdir, func() error { return d.Mkdir("/sub") }},
	} {
		d.Fail(Rule{Match: Only(c.kind), Err: syscall.EIO, Through: true})
		if err := c.call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", c.kind, err)
		}
	}
	after := inner.PowerCut(crashfs.KeepNothing)
	if len(after.Bytes("f")) != 5 || after.Bytes("newer") == nil {
		t.Errorf("%q", after.Files())
	}
	if _, err := inner.OpenDir("/sub"); err != nil {
		t.Error(err)
	}
}

func TestWithoutRulesNothingChanges(t *testing.T) {
	plain, inside := crashfs.New(), crashfs.New()
	must(t, errors.Join(script(plain), script(New(inside))))
	if a, b := plain.Log(), inside.Log(); len(a) != len(b) || a[len(a)-1] != b[len(b)-1] {
		t.Error("the wrapped disk got other calls")
	}
	dir := t.TempDir()
	d := New(vfs.OS())
	top, err := d.OpenDir(dir)
	must(t, err)
	f, err := top.Create("f")
	must(t, err)
	_, err = f.WriteAt([]byte("real"), 0)
	must(t, errors.Join(err, f.Datasync(), f.Close(), top.Close()))
	if got, err := os.ReadFile(dir + "/f"); string(got) != "real" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
