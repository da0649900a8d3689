//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

func openDir(t *testing.T, path string) *osDir {
	t.Helper()
	dir, err := OS().OpenDir(path)
	must(t, err)
	t.Cleanup(func() { must(t, dir.Close()) })
	return dir.(*osDir)
}

func create(t *testing.T, dir Dir, name, content string) *osFile {
	t.Helper()
	f, err := dir.Create(name)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	if _, err := WriteFull(f, []byte(content), 0); err != nil {
		t.Fatal(err)
	}
	return f.(*osFile)
}

func mapFile(t *testing.T, f File, size int64) Mapping {
	t.Helper()
	m, err := f.Map(size)
	must(t, err)
	return m
}

// opens tries every way to open a name.
func opens(dir Dir, name string) map[string]error {
	closed := func(f File, err error) error {
		if err == nil {
			err = f.Close()
		}
		return err
	}
	unlocked := func(l Lock, err error) error {
		if err == nil {
			err = l.Unlock()
		}
		return err
	}
	return map[string]error{
		"open":           closed(dir.Open(name)),
		"open read-only": closed(dir.OpenReadOnly(name)),
		"lock":           unlocked(dir.Lock(name, Exclusive)),
		"shared lock":    unlocked(dir.Lock(name, Shared)),
	}
}

func TestSymbolicLinksAreRefused(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	must(t, os.WriteFile(secret, []byte("content"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "file"), []byte("content"), 0o600))
	for name, target := range map[string]string{
		"outside": secret, "inside": "file", "dangling": filepath.Join(outside, "made"), "loop": "loop", "directory": outside,
	} {
		must(t, os.Symlink(target, filepath.Join(path, name)))
		dir := openDir(t, path)
		for what, err := range opens(dir, name) {
			// FreeBSD returns EMLINK.
			if errno := errnoOf(err); errno != unix.ELOOP && errno != unix.EMLINK {
				t.Errorf("%s of the link %q: %v", what, name, err)
			}
		}
		if err := second(dir.Create(name)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create over the link %q: %v", name, err)
		}
		must(t, dir.Remove(name))
	}
	entries, err := os.ReadDir(outside)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("the directory outside holds %v", entries)
	}
	if content, err := os.ReadFile(secret); string(content) != "content" {
		t.Errorf("the file outside holds %q, %v", content, err)
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	path := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(path, "pipe"), 0o600))
	must(t, os.Mkdir(filepath.Join(path, "directory"), 0o700))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(socket)
	t.Chdir(path) // a socket's address must be short
	must(t, unix.Bind(socket, &unix.SockaddrUnix{Name: "socket"}))

	dir := openDir(t, path)
	for _, name := range []string{"pipe", "directory", "socket"} {
		for what, err := range opens(dir, name) {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s of a %s: %v", what, name, err)
			}
		}
	}
}

func TestOthersCannotReadWhatIsMade(t *testing.T) {
	for _, umask := range []int{0, 0o22, 0o77, 0o377, 0o777} {
		checkModes(t, umask)
	}
}

func checkModes(t *testing.T, umask int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory")
	defer unix.Umask(unix.Umask(umask))
	must(t, OS().Mkdir(path))
	dir := openDir(t, path)
	create(t, dir, "file", "")
	lock, err := dir.Lock("LOCK", Exclusive)
	must(t, err)
	must(t, lock.Unlock())
	for name, want := range map[string]fs.FileMode{".": fs.ModeDir | 0o700, "file": 0o600, "LOCK": 0o600} {
		info, err := os.Stat(filepath.Join(path, name))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("umask %03o: %s has mode %v, want %v", umask, name, info.Mode(), want)
		}
	}
}

func TestDirStaysWithItsDirectory(t *testing.T) {
	parent := t.TempDir()
	path, aside := filepath.Join(parent, "path"), filepath.Join(parent, "aside")
	must(t, os.Mkdir(path, 0o700))
	dir := openDir(t, path)
	must(t, os.Rename(path, aside))
	must(t, os.Mkdir(path, 0o700))

	create(t, dir, "a", "content")
	create(t, dir, "c", "content")
	must(t, dir.Rename("a", "b"))
	must(t, dir.Remove("c"))
	must(t, dir.Sync())
	names, err := dir.Names()
	must(t, err)
	if !slices.Equal(names, []string{"b"}) {
		t.Errorf("the directory holds %q", names)
	}
	if _, err := os.Stat(filepath.Join(aside, "b")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(path); len(entries) > 0 || err != nil {
		t.Errorf("the new directory holds %v, %v", entries, err)
	}
}

func TestLockExcludesAnotherProcess(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	for _, c := range []struct {
		mine    LockMode
		theirs  string
		granted bool
	}{
		{Exclusive, "lock", false},
		{Exclusive, "lock shared", false},
		{Shared, "lock", false},
		{Shared, "lock shared", true},
	} {
		lock, err := dir.Lock("LOCK", c.mine)
		must(t, err)
		p := startChild(t, c.theirs, path)
		if got := p.said == held; got != c.granted {
			t.Errorf("mode %d here, %s there: the other process said %q", c.mine, c.theirs, p.said)
		}
		p.end(t)
		must(t, lock.Unlock())

		p = startChild(t, c.theirs, path)
		if p.said != held {
			t.Errorf("after Unlock here the other process said %q", p.said)
		}
		lock, err = dir.Lock("LOCK", c.mine)
		switch {
		case c.granted && err == nil:
			must(t, lock.Unlock())
		case c.granted || !errors.Is(err, ErrLocked):
			t.Errorf("%s there, mode %d here: %v", c.theirs, c.mine, err)
		}
		p.end(t)
	}
}

func TestLockGoesWithAKilledProcess(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	p := startChild(t, "lock", path)
	if err := second(dir.Lock("LOCK", Exclusive)); !errors.Is(err, ErrLocked) {
		t.Errorf("while it lives: %v", err)
	}
	must(t, p.Process.Kill())
	_ = p.Wait() // says that it was killed
	lock, err := dir.Lock("LOCK", Exclusive)
	must(t, err)
	must(t, lock.Unlock())
}

func TestUnlockFreesWhatAForkedChildKeeps(t *testing.T) {
	dir := openDir(t, t.TempDir())
	lock, err := dir.Lock("LOCK", Exclusive)
	must(t, err)
	child, err := unix.Dup(lock.(osLock).fd)
	must(t, err)
	defer unix.Close(child)
	must(t, lock.Unlock())
	lock, err = dir.Lock("LOCK", Exclusive)
	must(t, err)
	must(t, lock.Unlock())
}

func TestReplacedLockFileIsNoticed(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	name := filepath.Join(path, "LOCK")
	f := create(t, dir, "LOCK", "")
	check := func(what string, want bool) {
		t.Helper()
		if same, err := dir.leadsTo("LOCK", f.fd); same != want || err != nil {
			t.Errorf("%s: %v, %v", what, same, err)
		}
	}
	check("as opened", true)
	must(t, os.Rename(name, name+"x"))
	check("renamed", false)
	must(t, os.WriteFile(name, nil, 0o600))
	check("created again", false)
	must(t, os.Remove(name))
	must(t, os.Symlink("LOCKx", name))
	check("replaced by a link to it", false)
	if _, err := dir.leadsTo("LOCK", -1); errnoOf(err) != unix.EBADF {
		t.Errorf("a stat that fails: %v", err)
	}
}

func TestWritesAreShortWhereTheLimitIs(t *testing.T) {
	output, err := childCommand(t, "fill", t.TempDir()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	said := string(output)
	if !strings.HasPrefix(said, fmt.Sprint(fileSizeLimit)+" write ") || !strings.HasSuffix(said, " true\n") {
		t.Errorf("WriteFull beyond the limit: %s", said)
	}
}

func TestStartedProgramsGetNoDescriptor(t *testing.T) {
	dir := openDir(t, t.TempDir())
	f := create(t, dir, "file", "")
	lock, err := dir.Lock("LOCK", Exclusive)
	must(t, err)
	defer lock.Unlock()
	for what, fd := range map[string]int{"directory": dir.fd, "file": f.fd, "lock": lock.(osLock).fd} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: flags %#x, %v", what, flags, err)
		}
	}
}

func TestLargeTransfersGoInPieces(t *testing.T) {
	defer func(old int) { maxTransfer = old }(maxTransfer)
	maxTransfer = 1000
	content := strings.Repeat("0123456789abc", 200)
	f := create(t, openDir(t, t.TempDir()), "file", content)
	read := make([]byte, len(content))
	if n, err := f.ReadAt(read, 0); n != len(read) || err != nil || string(read) != content {
		t.Errorf("%d bytes of %d, equal: %v, %v", n, len(read), string(read) == content, err)
	}
	if n, err := f.WriteAt(read, 0); n != maxTransfer || err != nil {
		t.Errorf("one write: %d bytes, %v", n, err)
	}
}

func TestAllocateReservesBlocks(t *testing.T) {
	const size = 1 << 20
	f := create(t, openDir(t, t.TempDir()), "file", "content")
	supported := allocate(create(t, openDir(t, t.TempDir()), "probe", "").fd, 1) == nil
	must(t, f.Allocate(size))
	var stat unix.Stat_t
	must(t, unix.Fstat(f.fd, &stat))
	if supported && stat.Blocks*512 < size {
		t.Errorf("Allocate reserved %d blocks for %d bytes", stat.Blocks, size)
	}
}

func TestAllocateWhereNoneIsGrantedExtends(t *testing.T) {
	f := create(t, openDir(t, t.TempDir()), "file", "content")
	for _, c := range []struct{ ask, want int64 }{{3, 7}, {7, 7}, {1000, 1000}, {0, 1000}} {
		must(t, f.extend(c.ask))
		if size, err := f.Size(); size != c.want || err != nil {
			t.Errorf("extended to %d: %d bytes, %v", c.ask, size, err)
		}
	}
}

func TestMappingLimit(t *testing.T) {
	endQuarantine(t)
	f := create(t, openDir(t, t.TempDir()), "file", "content")
	restore := SetMappingLimit(2)
	first, other := mapFile(t, f, 7), mapFile(t, f, 7)
	err := second(f.Map(7))
	if !errors.Is(err, ErrMappingLimit) || !strings.Contains(err.Error(), "file") {
		t.Errorf("a third mapping with a limit of two: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 7), 0); err != nil {
		t.Error(err)
	}
	must(t, first.Unmap())
	endQuarantine(t)
	must(t, mapFile(t, f, 7).Unmap())
	restore()
	third, fourth := mapFile(t, f, 7), mapFile(t, f, 7)
	for _, m := range []Mapping{other, third, fourth} {
		must(t, m.Unmap())
	}
	endQuarantine(t)
	if mappings.count != 0 {
		t.Errorf("%d mappings are counted, but none exists", mappings.count)
	}
}

func TestFailedMapIsNotCounted(t *testing.T) {
	endQuarantine(t)
	dir := openDir(t, t.TempDir())
	f := create(t, dir, "file", "content")
	closed, err := dir.Open("file")
	must(t, err)
	must(t, closed.Close())
	for what, err := range map[string]error{
		"size 0":        second(f.Map(0)),
		"size -1":       second(f.Map(-1)),
		"a closed file": second(closed.Map(7)),
	} {
		if err == nil || mappings.count != 0 {
			t.Errorf("map of %s: %v, with %d mappings counted", what, err, mappings.count)
		}
	}
}

// endQuarantine releases all address ranges.
func endQuarantine(t *testing.T) {
	t.Helper()
	defer SetQuarantineClock(func() time.Time { return time.Now().Add(quarantineTime) })()
	must(t, ReleaseExpired())
}
