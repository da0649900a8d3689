package mmapkv

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// badBlock is a file system that refuses to read a range of some files.
type badBlock struct {
	vfs.FS
	in       func(name string) bool
	from, to int64
}

func (b *badBlock) OpenDir(path string) (vfs.Dir, error) {
	dir, err := b.FS.OpenDir(path)
	return &badBlockDir{dir, b}, err
}

type badBlockDir struct {
	vfs.Dir
	bad *badBlock
}

func (d *badBlockDir) Open(name string) (vfs.File, error) { return d.open(d.Dir.Open, name) }

func (d *badBlockDir) OpenReadOnly(name string) (vfs.File, error) {
	return d.open(d.Dir.OpenReadOnly, name)
}

func (d *badBlockDir) open(open func(string) (vfs.File, error), name string) (vfs.File, error) {
	f, err := open(name)
	if err != nil || !d.bad.in(name) {
		return f, err
	}
	return &badBlockFile{f, d.bad}, nil
}

type badBlockFile struct {
	vfs.File
	bad *badBlock
}

func (f *badBlockFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset < f.bad.to && offset+int64(len(p)) > f.bad.from {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, offset)
}

// The halves of the manifest lie in different blocks, so the store opens when the disk
// cannot read one of them.
func TestOpenWithABadBlockInTheManifest(t *testing.T) {
	const block = 4096
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "a", "1")
	closeStore(t, s)
	isManifest := func(name string) bool { return name == segment.ManifestName }
	for _, from := range []int64{0, block} {
		o := &Options{ReadOnly: true}
		inject.Into(o, &inject.Seams{FS: &badBlock{vfs.OS(), isManifest, from, from + block}})
		s := open(t, dir, o)
		wantValue(t, s, "a", "1")
		damages := s.Stats().Recovery.Damages
		if len(damages) != 1 || damages[0].File != segment.ManifestName || damages[0].Offset != from {
			t.Errorf("bad block at %d: damages %v", from, damages)
		}
		closeStore(t, s)
	}
	o := new(Options)
	inject.Into(o, &inject.Seams{FS: &badBlock{vfs.OS(), isManifest, 0, 2 * block}})
	if _, err := Open(dir, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "salvage") {
		t.Errorf("with both halves bad: %v", err)
	}
}

// An unreadable block at the end of the log may hold acknowledged writes, so Open refuses
// the store and says what to do.
func TestOpenWithABadBlockInTheTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	fill(t, s, 0, 100, 100)
	dir = killed(t, s, dir)
	for _, readOnly := range []bool{true, false} {
		o := &Options{ReadOnly: readOnly}
		inject.Into(o, &inject.Seams{FS: &badBlock{vfs.OS(), func(name string) bool { return strings.HasSuffix(name, ".seg") }, 8192, 12288}})
		if _, err := Open(dir, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "salvage") {
			t.Errorf("ReadOnly %v: %v", readOnly, err)
		}
	}
	wantFilled(t, open(t, dir, nil), 0, 100, 100)
}

// An Open that the disk refuses MANIFEST is damage, and says what the disk said.
func TestOpenOfARefusedManifestWrapsTheCause(t *testing.T) {
	for _, kind := range []errorfs.Kind{errorfs.Open, errorfs.Read} {
		dir, disk := t.TempDir(), errorfs.New(vfs.OS())
		s := open(t, dir, byHand())
		fill(t, s, 0, 10, 100)
		closeStore(t, s)
		o := byHand()
		inject.Into(o, &inject.Seams{FS: disk, Manual: true})
		disk.Fail(fails(syscall.EIO, segment.ManifestName, kind))
		if _, err := Open(dir, o); !errors.Is(err, ErrCorrupt) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%v of MANIFEST is refused: %v", kind, err)
		}
	}
}
