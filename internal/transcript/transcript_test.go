package transcript

import (
	"errors"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// calls makes every kind of call, and some calls that fail.
func calls(disk vfs.FS, text string) error {
	err := disk.Mkdir("/a")
	d, err2 := disk.OpenDir("/a")
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	f, err := d.Create("f")
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 3)
	_, err2 = f.ReadAt(make([]byte, 2), 4)
	if _, err := f.ReadAt(make([]byte, 1), 7); err != io.EOF {
		return errors.New("there is more in the file")
	}
	_, err3 := f.Size()
	f.SlowFirstWrite()
	m, err4 := f.Map(5)
	err = errors.Join(err, err2, err3, err4, f.Allocate(100), f.Truncate(50), f.Datasync(), m.Unmap(), f.Close())
	err = errors.Join(err, d.Rename("f", "g"), d.Sync())
	_, err2 = d.Names()
	if _, err := d.Lock("LOCK", vfs.Shared); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("a missing file was locked")
	}
	l, err3 := d.Lock("LOCK", vfs.Exclusive)
	if err = errors.Join(err, err2, err3); err != nil {
		return err
	}
	if _, err := d.Lock("LOCK", vfs.Exclusive); !errors.Is(err, vfs.ErrLocked) {
		return errors.New("the lock was taken twice")
	}
	f, err = d.Open("g")
	g, err2 := d.OpenReadOnly("g")
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	if _, err := d.Open("f"); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("the file was opened by its old name")
	}
	return errors.Join(f.Close(), g.Close(), d.Remove("g"), l.Unlock(), d.Close())
}

const written = `the script begins
mkdir /a
open directory /a
create /a/f
write /a/f at 3, 4 bytes, 3a6eb0790f39ac87 = 4
read /a/f at 4, 2 bytes = 2, b1d6b91b67c2afa5
read /a/f at 7, 1 bytes = 0, e3b0c44298fc1c14: end of file
size of /a/f = 7
slow first write of /a/f = true
map /a/f to 5
allocate /a/f to 100
truncate /a/f to 50
sync /a/f
unmap /a/f
close /a/f
rename /a/f to /a/g
sync directory /a
list /a = ["g"]
lock /a/LOCK, shared true: no such file or directory
lock /a/LOCK, shared false
lock /a/LOCK, shared false: locked
open /a/g
open read-only /a/g
open /a/f: no such file or directory
close /a/g
close /a/g
remove /a/g
unlock /a/LOCK
close directory /a
`

func TestEveryCallIsALine(t *testing.T) {
	var lines strings.Builder
	transcript := New(&lines)
	transcript.Note("the %s begins", "script")
	if err := calls(transcript.Of(crashfs.New()), "data"); err != nil {
		t.Fatal(err)
	}
	if lines.String() != written {
		t.Errorf("the transcript is\n%s", lines.String())
	}
	if n := strings.Count(written, "\n") - 1; transcript.Calls() != n || transcript.Err() != nil {
		t.Errorf("%d calls of %d, %v", transcript.Calls(), n, transcript.Err())
	}
}

func TestSumTellsRunsApart(t *testing.T) {
	sum := func(text string) string {
		transcript := New(nil)
		if err := calls(transcript.Of(crashfs.New()), text); err != nil {
			t.Fatal(err)
		}
		return transcript.Sum()
	}
	if one, again := sum("data"), sum("data"); one != again {
		t.Errorf("equal runs have the sums %s and %s", one, again)
	}
	// Both runs write the same number of bytes and read the same bytes.
	if one, other := sum("data"), sum("dato"); one == other {
		t.Error("runs that write different bytes have the same sum")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fs.ErrInvalid }

func TestErrorOfTheWriterIsKept(t *testing.T) {
	transcript := New(failing{})
	transcript.Note("lost")
	if err := transcript.Err(); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

// TestHandsOnWhatTestDisksHave notices methods of a test disk beyond the interfaces of vfs: a
// transcript would hide them from the store.
func TestHandsOnWhatTestDisksHave(t *testing.T) {
	inner := errorfs.New(crashfs.New())
	compare := func(inner, wrapped any) {
		t.Helper()
		has := reflect.TypeOf(wrapped)
		for m := range reflect.TypeOf(inner).Methods() {
			// LoseDirty is for errorfs, which lies below.
			if _, ok := has.MethodByName(m.Name); !ok && m.Name != "LoseDirty" {
				t.Errorf("%T has %s, but %T has not", inner, m.Name, wrapped)
			}
		}
	}
	for _, disk := range []vfs.FS{inner, crashfs.New()} {
		d, err := disk.OpenDir("/")
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.Create("f")
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Map(1)
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Lock("LOCK", vfs.Exclusive)
		if err != nil {
			t.Fatal(err)
		}
		compare(d, &dir{})
		compare(f, &file{})
		compare(m, &mapping{})
		compare(l, &lock{})
	}
}
