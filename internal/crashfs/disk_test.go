package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

func openDir(t testing.TB, d *Disk, path string) vfs.Dir {
	t.Helper()
	dir, err := d.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func create(t testing.TB, d *Disk, name string) vfs.File {
	t.Helper()
	f, err := openDir(t, d, "/").Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t testing.TB, f vfs.File, content string, offset int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(content), offset); n != len(content) || err != nil {
		t.Fatalf("WriteAt wrote %d of %d: %v", n, len(content), err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, d *Disk, path, content string) {
	t.Helper()
	got := d.Bytes(path)
	if got == nil || string(got) != content {
		t.Fatalf("%s holds %q (exists: %v), want %q", path, got, got != nil, content)
	}
}

// durableFile creates a file whose content and name are durable.
func durableFile(t testing.TB, d *Disk, name, content string) vfs.File {
	t.Helper()
	f := create(t, d, name)
	if content != "" {
		write(t, f, content, 0)
	}
	must(t, f.Datasync())
	must(t, openDir(t, d, "/").Sync())
	return f
}

func TestNamesAndErrors(t *testing.T) {
	d := New()
	must(t, d.Mkdir("/a"))
	must(t, d.Mkdir("a/b"))
	a := openDir(t, d, "/a/")
	f, err := a.Create("x")
	must(t, err)
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"mkdir that exists", d.Mkdir("/a"), fs.ErrExist},
		{"mkdir of the root", d.Mkdir("/"), fs.ErrExist},
		{"mkdir without a parent", d.Mkdir("/c/d"), fs.ErrNotExist},
		{"mkdir under a file", d.Mkdir("/a/x/y"), syscall.ENOTDIR},
		{"open of a missing directory", second(d.OpenDir("/c")), fs.ErrNotExist},
		{"open of a file", second(d.OpenDir("/a/x")), syscall.ENOTDIR},
		{"create twice", second(a.Create("x")), fs.ErrExist},
		{"open a missing file", second(a.Open("y")), fs.ErrNotExist},
		{"open a directory", second(a.Open("b")), syscall.EISDIR},
		{"remove a missing file", a.Remove("y"), fs.ErrNotExist},
		{"remove a directory", a.Remove("b"), syscall.EISDIR},
		{"rename a missing file", a.Rename("y", "z"), fs.ErrNotExist},
		{"rename onto a directory", a.Rename("x", "b"), syscall.EISDIR},
		{"a path", second(a.Open("b/x")), errBadName},
		{"the parent", second(a.Create("..")), errBadName},
		{"shared lock of a missing file", second(a.Lock("LOCK", vfs.Shared)), fs.ErrNotExist},
		{"negative offset", second(f.WriteAt([]byte{1}, -1)), syscall.EINVAL},
		{"negative length", f.Truncate(-1), syscall.EINVAL},
		{"empty map", second(f.Map(0)), syscall.EINVAL},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.err, c.want)
		}
	}
	names, err := a.Names()
	must(t, err)
	if !slices.Equal(names, []string{"b", "x"}) || !slices.Equal(d.Files(), []string{"/a/x"}) {
		t.Errorf("the directory holds %q, the disk %q", names, d.Files())
	}
	must(t, a.Rename("x", "x"))
	must(t, a.Close())
	must(t, f.Close())
	for what, err := range map[string]error{"directory": second(a.Names()), "close": a.Close(), "file": f.Datasync()} {
		if !errors.Is(err, syscall.EBADF) {
			t.Errorf("closed %s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadOnlyFileIsNotChanged(t *testing.T) {
	d := New()
	create(t, d, "f")
	f, err := openDir(t, d, "/").OpenReadOnly("f")
	must(t, err)
	for _, err := range []error{second(f.WriteAt([]byte{1}, 0)), f.Truncate(1), f.Allocate(1)} {
		if !errors.Is(err, syscall.EBADF) {
			t.Errorf("read-only: %v", err)
		}
	}
	must(t, f.Datasync())
}

func TestReadsEndAtTheFilesEnd(t *testing.T) {
	f := create(t, New(), "f")
	write(t, f, "abc", 2)
	p := []byte("......")
	if n, err := f.ReadAt(p, 1); n != 4 || err != io.EOF || string(p[:n]) != "\x00abc" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if n, err := f.ReadAt(p[:3], 2); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := f.ReadAt(p, 100); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}

func TestMappingsShowLaterWrites(t *testing.T) {
	d := New()
	f := create(t, d, "f")
	write(t, f, "old", 0)
	must(t, f.Datasync())
	small, err := f.Map(8)
	must(t, err)
	write(t, f, "new", 3)
	if string(small.Bytes()) != "oldnew\x00\x00" {
		t.Fatalf("%q", small.Bytes())
	}
	write(t, f, "far", 5000) // outgrows the memory
	write(t, f, "N", 0)
	large, err := f.Map(6000)
	must(t, err)
	again, err := f.Map(16)
	must(t, err)
	write(t, f, "!", 7)
	for _, m := range []vfs.Mapping{small, large, again} {
		if !bytes.HasPrefix(m.Bytes(), []byte("Nldnew\x00!")) {
			t.Errorf("%q", m.Bytes()[:8])
		}
	}
	if len(small.Bytes()) != 8 || cap(small.Bytes()) != 8 || string(large.Bytes()[5000:5004]) != "far\x00" {
		t.Error("the maps have the wrong size or content")
	}
	must(t, f.Truncate(1))
	write(t, f, "x", 3)
	for _, m := range []vfs.Mapping{small, large, again} {
		if !bytes.HasPrefix(m.Bytes(), []byte("N\x00\x00x\x00\x00\x00\x00")) {
			t.Errorf("after the cut %q", m.Bytes()[:8])
		}
	}
	must(t, f.Close())
	for _, m := range []vfs.Mapping{small, large, again} {
		must(t, m.Unmap())
		if m.Unmap() == nil {
			t.Error("unmapped twice")
		}
	}
}

func TestLocks(t *testing.T) {
	d := New()
	dir := openDir(t, d, "/")
	first, err := dir.Lock("LOCK", vfs.Exclusive)
	must(t, err)
	if _, err := dir.Lock("LOCK", vfs.Shared); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("shared beside exclusive: %v", err)
	}
	if _, err := openDir(t, d, "/").Lock("LOCK", vfs.Exclusive); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("exclusive twice: %v", err)
	}
	calls := d.Calls()
	must(t, first.Unlock())
	if first.Unlock() == nil {
		t.Error("unlocked twice")
	}
	shared, err := dir.Lock("LOCK", vfs.Shared)
	must(t, err)
	_, err = dir.Lock("LOCK", vfs.Shared)
	must(t, err)
	if _, err := dir.Lock("LOCK", vfs.Exclusive); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("exclusive beside shared: %v", err)
	}
	must(t, shared.Unlock())
	if d.Calls() != calls {
		t.Error("locking an existing file counted as a change")
	}
	must(t, dir.Sync())
	for _, after := range []*Disk{d.Kill(), d.PowerCut(KeepNothing)} {
		if _, err := openDir(t, after, "/").Lock("LOCK", vfs.Exclusive); err != nil {
			t.Errorf("the lock outlived the process: %v", err)
		}
	}
}

func TestHeldCountsWhatIsOpen(t *testing.T) {
	d := New()
	dir := openDir(t, d, "/")
	f, err := dir.Create("f")
	must(t, err)
	m, err := f.Map(1)
	must(t, err)
	l, err := dir.Lock("LOCK", vfs.Exclusive)
	must(t, err)
	if d.Held() != 4 {
		t.Errorf("%d held, want 4", d.Held())
	}
	must(t, errors.Join(l.Unlock(), m.Unmap(), f.Close(), dir.Close()))
	if d.Held() != 0 {
		t.Errorf("%d held, want 0", d.Held())
	}
}

func TestKillKeepsWhatWasWrittenAndStaysUnsynced(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", "safe")
	write(t, f, "more", 4)
	g := create(t, d, "g")
	write(t, g, "new", 0)
	m, err := f.Map(16)
	must(t, err)
	before := d.Hash()

	killed := d.Kill()
	if killed.Hash() != before {
		t.Error("the copy has another hash")
	}
	write(t, f, "OLD PROCESS", 0)
	must(t, f.Datasync())
	must(t, openDir(t, d, "/").Remove("g"))
	want(t, killed, "/f", "safemore")
	want(t, killed, "/g", "new")
	want(t, killed.PowerCut(KeepNothing), "/f", "safe")
	if killed.PowerCut(KeepNothing).Bytes("/g") != nil {
		t.Error("an unsynced name survived a power cut")
	}

	h, err := openDir(t, killed, "/").Open("f")
	must(t, err)
	write(t, h, "NEW", 0)
	must(t, h.Datasync())
	if !bytes.HasPrefix(m.Bytes(), []byte("OLD PROCESS")) {
		t.Errorf("the old mapping shows %q", m.Bytes())
	}
	want(t, killed.PowerCut(KeepNothing), "/f", "NEWemore")
	want(t, d, "/f", "OLD PROCESS")
}

func TestFullDisk(t *testing.T) {
	d := New()
	d.SetCapacity(1000)
	f := create(t, d, "f")
	must(t, f.Allocate(600))
	write(t, f, strings.Repeat("x", 600), 0)
	if d.Used() != 600 {
		t.Errorf("used %d", d.Used())
	}
	g := create(t, d, "g")
	if err := g.Allocate(401); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("allocate: %v", err)
	}
	if size, _ := g.Size(); size != 0 {
		t.Errorf("a failed Allocate left %d bytes", size)
	}
	if n, err := g.WriteAt(make([]byte, 500), 0); n != 400 || err != nil {
		t.Errorf("first write: %d, %v", n, err)
	}
	if n, err := g.WriteAt(make([]byte, 100), 400); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("second write: %d, %v", n, err)
	}
	if _, err := vfs.WriteFull(g, make([]byte, 100), 350); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("across the end: %v", err)
	}
	write(t, f, "overwriting needs no room", 0)
	if killed := d.Kill(); killed.Used() != 1000 {
		t.Errorf("killed: used %d", killed.Used())
	}
	must(t, g.Truncate(300))
	write(t, f, strings.Repeat("y", 100), 600)
	must(t, openDir(t, d, "/").Remove("g"))
	if d.Used() != 700 {
		t.Errorf("used %d, want 700", d.Used())
	}
	write(t, g, strings.Repeat("z", 5000), 0) // a file without a name takes no space
	must(t, openDir(t, d, "/").Rename("f", "h"))
	create(t, d, "f")
	must(t, openDir(t, d, "/").Rename("f", "h"))
	if d.Used() != 0 {
		t.Errorf("used %d, want 0", d.Used())
	}
}

func TestPowerGoesOffAtACall(t *testing.T) {
	script := func(d *Disk) error {
		dir, err := d.OpenDir("/")
		if err != nil {
			return err
		}
		f, err := dir.Create("f")
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("content"), 0)
		return errors.Join(err, f.Datasync(), dir.Sync(), f.Close(), dir.Close())
	}
	d := New()
	must(t, script(d))
	if d.Calls() != 4 {
		t.Fatalf("%d calls", d.Calls())
	}
	for n := 1; n <= 4; n++ {
		d := New()
		d.StopAt(n)
		if err := script(d); !errors.Is(err, ErrPowerOff) {
			t.Errorf("stopped at %d: %v", n, err)
		}
		if len(d.Log()) != n-1 {
			t.Errorf("stopped at %d: %d calls had an effect", n, len(d.Log()))
		}
		if _, err := d.OpenDir("/"); !errors.Is(err, ErrPowerOff) {
			t.Errorf("afterwards: %v", err)
		}
		on := d.PowerCut(KeepAll)
		if n <= 1 != (on.Bytes("/f") == nil) || len(on.Bytes("/f")) != map[int]int{1: 0, 2: 0, 3: 7, 4: 7}[n] {
			t.Errorf("stopped at %d: %q", n, on.Bytes("/f"))
		}
		if d.Held() != 0 && n > 1 {
			t.Errorf("stopped at %d: %d handles still open", n, d.Held())
		}
	}

	d = New()
	d.StopDuring(2, 3)
	if err := script(d); !errors.Is(err, ErrPowerOff) {
		t.Error(err)
	}
	want(t, d.Kill(), "/f", "con")
	d = New()
	d.StopDuring(3, 0)
	if err := script(d); !errors.Is(err, ErrPowerOff) {
		t.Error(err)
	}
	want(t, d.Kill(), "/f", "content")
	if d.PowerCut(KeepNothing).Bytes("/f") != nil {
		t.Error("a sync that did not return has synced")
	}
}

func TestHookSeesTheDiskBeforeEachCall(t *testing.T) {
	d := New()
	var contents []string
	d.OnCall = func(n int, op Op) {
		if n != len(contents)+1 || n != d.Calls() {
			t.Errorf("call %d is announced as %d", len(contents)+1, n)
		}
		contents = append(contents, op.String()+"|"+string(d.Kill().Bytes("f")))
		if n == 4 {
			d.PowerOff()
		}
	}
	f := create(t, d, "f")
	write(t, f, "one", 0)
	write(t, f, "two", 3)
	if _, err := f.WriteAt([]byte("three"), 6); !errors.Is(err, ErrPowerOff) {
		t.Errorf("after PowerOff: %v", err)
	}
	if !reflect.DeepEqual(contents, []string{
		"create /f|",
		"write /f at 0, 3 bytes|",
		"write /f at 3, 3 bytes|one",
		"write /f at 6, 5 bytes|onetwo",
	}) {
		t.Errorf("%q", contents)
	}
	want(t, d, "/f", "onetwo")
}

func TestEqualCallsHaveEqualLogs(t *testing.T) {
	run := func(last string) []Entry {
		d := New()
		f := create(t, d, "f")
		write(t, f, "abc", 0)
		must(t, f.Truncate(1))
		must(t, f.Datasync())
		must(t, openDir(t, d, "/").Rename("f", "g"))
		write(t, f, last, 1)
		return d.Log()
	}
	a, b, c := run("x"), run("x"), run("y")
	if !reflect.DeepEqual(a, b) {
		t.Error("equal runs, different logs")
	}
	if a[4] != c[4] || a[5].Sum == c[5].Sum {
		t.Error("the sum does not show where the runs diverge")
	}
}

func TestHashTellsDurableFromPending(t *testing.T) {
	d := New()
	seen := map[uint64]string{}
	step := func(what string) {
		t.Helper()
		sum := d.Hash()
		if sum != d.Kill().Hash() {
			t.Errorf("%s: the copy has another hash", what)
		}
		if before, ok := seen[sum]; ok {
			t.Errorf("%s hashes like %s", what, before)
		}
		seen[sum] = what
	}
	step("empty")
	f := create(t, d, "f")
	step("created")
	must(t, openDir(t, d, "/").Sync())
	step("name synced")
	write(t, f, "abc", 0)
	step("written")
	must(t, f.Datasync())
	step("synced")
	must(t, f.Allocate(100))
	step("allocated")
	must(t, f.Datasync())
	step("allocation synced")
	write(t, f, "b", 0)
	step("rewritten")
	f.(interface{ LoseDirty() }).LoseDirty()
	step("lost")
	must(t, openDir(t, d, "/").Rename("f", "g"))
	step("renamed")
	must(t, openDir(t, d, "/").Remove("g"))
	step("removed")

	// The same content, written in another way, has the same hash.
	one, two := New(), New()
	durableFile(t, one, "x", "content\x00\x00")
	x := create(t, two, "x")
	must(t, x.Allocate(4000))
	write(t, x, strings.Repeat("y", 50), 0)
	must(t, x.Datasync())
	write(t, x, "content", 0)
	must(t, x.Truncate(7))
	must(t, x.Allocate(9))
	must(t, x.Datasync())
	must(t, openDir(t, two, "/").Sync())
	if one.Hash() != two.Hash() {
		t.Error("equal disks hash differently")
	}
}

func TestLostWritesAreSeenUntilThePowerIsCut(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", "old")
	write(t, f, "NEW+appended", 0)
	f.(interface{ LoseDirty() }).LoseDirty()
	want(t, d, "/f", "NEW+appended")
	write(t, f, "behind", 12)
	must(t, f.Datasync())
	want(t, d.Kill(), "/f", "NEW+appendedbehind")
	for _, c := range []Chooser{KeepAll, KeepNothing, Random(1)} {
		want(t, d.PowerCut(c), "/f", "old\x00\x00\x00\x00\x00\x00\x00\x00\x00behind")
		want(t, d.Kill().PowerCut(c), "/f", "old\x00\x00\x00\x00\x00\x00\x00\x00\x00behind")
	}

	d = New()
	f = durableFile(t, d, "f", "old")
	write(t, f, "new", 0)
	write(t, f, "tail", 3)
	f.(interface{ LoseDirty() }).LoseDirty()
	want(t, d.PowerCut(KeepNothing), "/f", "old")
	want(t, d.PowerCut(KeepAll), "/f", "old\x00\x00\x00\x00")
}

func TestDamage(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", "abc")
	write(t, f, "DEF", 3)
	m, err := f.Map(6)
	must(t, err)
	must(t, f.Allocate(10))
	for _, offset := range []int64{0, 4, 8} {
		if !d.Flip("/f", offset, 0x80) {
			t.Errorf("no byte %d", offset)
		}
	}
	if d.Flip("/f", 10, 1) || d.Flip("/g", 0, 1) || d.Flip("/", 0, 1) {
		t.Error("flipped a byte that does not exist")
	}
	want(t, d, "/f", "\xe1bcD\xc5F\x00\x00\x80\x00")
	if string(m.Bytes()) != "\xe1bcD\xc5F" {
		t.Errorf("the mapping shows %q", m.Bytes())
	}
	want(t, d.PowerCut(KeepNothing), "/f", "\xe1bc")
	want(t, d.PowerCut(KeepAll), "/f", "\xe1bcD\xc5F\x00\x00\x80\x00")

	must(t, d.SetBytes("/f", []byte("other")))
	if string(m.Bytes()) != "other\x00" {
		t.Errorf("the mapping shows %q", m.Bytes())
	}
	must(t, d.SetBytes("/n", []byte("made")))
	after := d.PowerCut(KeepNothing)
	want(t, after, "/f", "other")
	want(t, after, "/n", "made")
	if after.Used() != 9 || d.Used() != 9 {
		t.Errorf("used %d and %d, want 9", after.Used(), d.Used())
	}
	if err := d.SetBytes("/", nil); !errors.Is(err, syscall.EISDIR) {
		t.Error(err)
	}
	if err := d.SetBytes("/x/y", nil); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

func TestManyGoroutines(t *testing.T) {
	d := New()
	dir := openDir(t, d, "/")
	f, err := dir.Create("shared")
	must(t, err)
	m, err := f.Map(1 << 10)
	must(t, err)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			own := string(rune('a' + i))
			g, err := dir.Create(own)
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 100 {
				_, err := f.WriteAt([]byte(own), int64(i)) // each goroutine its own byte
				_, err2 := g.WriteAt([]byte(own), int64(n))
				err = errors.Join(err, err2, g.Datasync(), dir.Sync())
				if m.Bytes()[i] != own[0] {
					t.Errorf("the mapping shows %q", m.Bytes()[i])
				}
				if err != nil {
					t.Error(err)
				}
				d.PowerCut(Random(uint64(n))).Hash()
			}
		})
	}
	all.Wait()
}
