package fsync

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// faultyDir is a directory in memory that records every call and fails one.
type faultyDir struct {
	vfs.Dir // nil: Publish must not call its other methods
	files   map[string][]byte
	calls   []string
	fail    string // the call that fails
	cause   error
	short   int // how much a single write writes at most; 0: everything
}

func (d *faultyDir) call(name string) error {
	d.calls = append(d.calls, name)
	if name == d.fail {
		return d.cause
	}
	return nil
}

func (d *faultyDir) Create(name string) (vfs.File, error) {
	if err := d.call("create " + name); err != nil {
		return nil, err
	}
	if _, ok := d.files[name]; ok {
		return nil, fs.ErrExist
	}
	d.files[name] = nil
	return &faultyFile{dir: d, name: name}, nil
}

func (d *faultyDir) Remove(name string) error {
	if err := d.call("remove " + name); err != nil {
		return err
	}
	if _, ok := d.files[name]; !ok {
		return fs.ErrNotExist
	}
	delete(d.files, name)
	return nil
}

func (d *faultyDir) Rename(oldName, newName string) error {
	if err := d.call("rename " + oldName + " " + newName); err != nil {
		return err
	}
	d.files[newName] = d.files[oldName]
	delete(d.files, oldName)
	return nil
}

func (d *faultyDir) Sync() error { return d.call("sync directory") }

type faultyFile struct {
	vfs.File
	dir  *faultyDir
	name string
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.dir.call("write"); err != nil {
		return 0, err
	}
	if f.dir.short > 0 {
		p = p[:min(len(p), f.dir.short)]
	}
	if offset != int64(len(f.dir.files[f.name])) {
		return 0, errors.New("written out of order")
	}
	f.dir.files[f.name] = append(f.dir.files[f.name], p...)
	return len(p), nil
}

func (f *faultyFile) Datasync() error { return f.dir.call("datasync") }
func (f *faultyFile) Close() error    { return f.dir.call("close") }

func newFaultyDir(leftAside bool) *faultyDir {
	d := &faultyDir{files: map[string][]byte{"other": []byte("other"), "NAME": []byte("old")}, cause: syscall.EIO}
	if leftAside {
		d.files["NAME.tmp"] = []byte("half of what an earlier attempt wro")
	}
	return d
}

var publishSteps = []string{
	"remove NAME.tmp", "create NAME.tmp", "write", "datasync", "close", "rename NAME.tmp NAME", "sync directory",
}

func TestPublishReplacesTheFileStepByStep(t *testing.T) {
	for _, leftAside := range []bool{false, true} {
		d := newFaultyDir(leftAside)
		if err := Publish(d, "NAME", []byte("new"), nil); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.calls, publishSteps) {
			t.Errorf("calls %q", d.calls)
		}
		if got := d.listing(); got != "NAME=new other=other" {
			t.Errorf("the directory has %s", got)
		}
	}
}

func (d *faultyDir) listing() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		list = append(list, name+"="+string(d.files[name]))
	}
	return strings.Join(list, " ")
}

func TestPublishMakesANewFile(t *testing.T) {
	d := &faultyDir{files: map[string][]byte{}}
	if err := Publish(d, "NAME", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := d.listing(); got != "NAME=" {
		t.Errorf("the directory has %s", got)
	}
}

func TestPublishGoesOnAfterShortWrites(t *testing.T) {
	d := newFaultyDir(false)
	d.short = 7
	content := bytes.Repeat([]byte("0123456789"), 10)
	if err := Publish(d, "NAME", content, nil); err != nil || !bytes.Equal(d.files["NAME"], content) {
		t.Errorf("%v, the file has %q", err, d.files["NAME"])
	}
}

func TestPublishPausesBetweenPieces(t *testing.T) {
	d := newFaultyDir(false)
	content := bytes.Repeat([]byte("0123456789"), pieceSize/4)
	paused := 0
	if err := Publish(d, "NAME", content, func() { paused++ }); err != nil || !bytes.Equal(d.files["NAME"], content) {
		t.Errorf("%v, the file has %d bytes of %d", err, len(d.files["NAME"]), len(content))
	}
	if paused != 2 {
		t.Errorf("paused %d times in 2.5 pieces", paused)
	}
}

func TestPublishFailsAtEachStep(t *testing.T) {
	outcomes := map[string]struct {
		tried, syncFailed bool
		listing           string
	}{
		"remove NAME.tmp":      {listing: "NAME=old NAME.tmp=half of what an earlier attempt wro other=other"},
		"create NAME.tmp":      {listing: "NAME=old other=other"},
		"write":                {listing: "NAME=old other=other"},
		"datasync":             {syncFailed: true, listing: "NAME=old other=other"},
		"close":                {listing: "NAME=old other=other"},
		"rename NAME.tmp NAME": {tried: true, listing: "NAME=old NAME.tmp=new other=other"},
		"sync directory":       {tried: true, syncFailed: true, listing: "NAME=new other=other"},
	}
	for i, step := range publishSteps {
		t.Run(step, func(t *testing.T) {
			want := outcomes[step]
			d := newFaultyDir(true)
			d.fail = step
			err := Publish(d, "NAME", []byte("new"), nil)
			failure, ok := errors.AsType[*PublishError](err)
			if !ok || !errors.Is(err, syscall.EIO) {
				t.Fatalf("Publish: %v", err)
			}
			if failure.Name != "NAME" || failure.Step == "" || failure.Tried != want.tried || failure.SyncFailed != want.syncFailed {
				t.Errorf("failure %+v", failure)
			}
			if got := d.listing(); got != want.listing {
				t.Errorf("the directory has %s, want %s", got, want.listing)
			}
			if !slices.Equal(d.calls[:i+1], publishSteps[:i+1]) {
				t.Errorf("calls %q", d.calls)
			}
			if created, closed := i > 1, slices.Contains(d.calls, "close"); created != closed {
				t.Errorf("created: %v, closed: %v", created, closed)
			}

			// The next attempt succeeds.
			d.fail = ""
			if err := Publish(d, "NAME", []byte("newer"), nil); err != nil {
				t.Fatal(err)
			}
			if got := d.listing(); got != "NAME=newer other=other" {
				t.Errorf("after another attempt the directory has %s", got)
			}
		})
	}
}

func TestPublishNamesTheCauseOfAFullDisk(t *testing.T) {
	d := newFaultyDir(false)
	d.fail, d.cause = "write", syscall.ENOSPC
	err := Publish(d, "NAME", []byte("new"), nil)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "NAME") {
		t.Errorf("Publish: %v", err)
	}
}
