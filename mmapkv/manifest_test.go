package mmapkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// onForgetful opens the store of a disk whose calls can be made to fail. Nothing happens
// in the background, and only the test's own steps sync.
func onForgetful(t *testing.T, inner *crashfs.Disk) (*Store, *errorfs.Disk) {
	t.Helper()
	disk := errorfs.New(inner)
	return openManual(t, disk), disk
}

func openManual(t *testing.T, disk vfs.FS) *Store {
	t.Helper()
	o := tiny()
	o.Sync, o.Compaction.Disabled = fsync.Never, true
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	return open(t, "/store", o)
}

// isEdit matches calls of some kinds on the current manifest, not on a new one.
func isEdit(kinds ...errorfs.Kind) func(errorfs.Op) bool {
	only := errorfs.Only(kinds...)
	return func(op errorfs.Op) bool { return only(op) && op.Name == "/store/"+segment.ManifestName }
}

func isCopy(op errorfs.Op) bool {
	return op.Kind == errorfs.Create && op.Name == "/store/"+segment.ManifestName+".tmp"
}

// nextFile begins another file, which the manifest must name.
func (s *Store) nextFile() (err error) {
	s.log.AsLeader(func() { err = s.log.Rotate(100, false) })
	return err
}

func appended(t *testing.T, disk *crashfs.Disk) int {
	t.Helper()
	_, state, err := segment.InspectManifest(disk.Bytes("/store/" + segment.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	return state.Edits
}

// fullCopies counts the full copies that were written.
func fullCopies(disk *errorfs.Disk) (count int) {
	for _, op := range disk.Calls() {
		if isCopy(op) {
			count++
		}
	}
	return count
}

// Every edit is on disk twice before the store relies on it.
func TestEveryEditIsOnDiskTwice(t *testing.T) {
	inner := crashfs.New()
	s, _ := onForgetful(t, inner)
	fill(t, s, 0, 10, 100)
	for range 50 {
		if err := s.nextFile(); err != nil {
			t.Fatal(err)
		}
		put(t, s, "in this file", "")
		content := inner.PowerCut(crashfs.KeepNothing).Bytes("/store/" + segment.ManifestName)
		m, state, err := segment.InspectManifest(content)
		if err != nil || m.Edit != s.catalog.Manifest.Current.Edit || state.Once || state.Damages != nil {
			t.Fatalf("%+v, %v: edit %d of %d", state, err, m.Edit, s.catalog.Manifest.Current.Edit)
		}
	}
	closeStore(t, s)
}

// The remains of a failed edit are never read, neither by a later Open nor after further
// edits.
func TestFailedEditIsNeverFound(t *testing.T) {
	for _, nth := range []int{1, 2} { // of the two copies
		for _, short := range []bool{false, true} {
			inner := crashfs.New()
			s, disk := onForgetful(t, inner)
			fill(t, s, 0, 60, 100)
			before := appended(t, inner)
			disk.Fail(errorfs.Rule{Match: isEdit(errorfs.Write), Nth: nth, Short: short, Err: syscall.ENOSPC})
			disk.Fail(errorfs.Rule{Match: isCopy, Err: syscall.ENOSPC})
			if err := s.nextFile(); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
				t.Fatalf("copy %d, short %v: %v", nth, short, err)
			}
			disk.Heal()
			if got := appended(t, inner); got != before {
				t.Errorf("copy %d, short %v: the edit is there", nth, short)
			}
			for _, left := range []*crashfs.Disk{inner.Kill(), inner.PowerCut(crashfs.KeepAll)} {
				again := openManual(t, left)
				wantFilled(t, again, 0, 60, 100)
				closeStore(t, again)
			}
			if err := s.nextFile(); err != nil {
				t.Fatal(err)
			}
			if got := appended(t, inner); got <= before {
				t.Errorf("copy %d, short %v: %d edits behind %d", nth, short, got, before)
			}
			fill(t, s, 0, 80, 100)
			again := openManual(t, inner.Kill())
			wantFilled(t, again, 0, 80, 100)
			closeStore(t, again)
			closeStore(t, s)
		}
	}
}

// If an edit cannot be appended, a full copy replaces it.
func TestEditThatCannotBeAppended(t *testing.T) {
	for _, rule := range []errorfs.Rule{
		{Match: isEdit(errorfs.Open), Err: syscall.EMFILE},
		{Match: isEdit(errorfs.Write), Err: syscall.ENOSPC},
		{Match: isEdit(errorfs.Write), Nth: 2, Short: true, Err: syscall.ENOSPC},
	} {
		inner := crashfs.New()
		s, disk := onForgetful(t, inner)
		fill(t, s, 0, 60, 100)
		before := fullCopies(disk)
		disk.Fail(rule)
		if err := s.nextFile(); err != nil || disk.Fired() == 0 {
			t.Fatalf("%v: %v, fired %d times", rule.Err, err, disk.Fired())
		}
		if n := fullCopies(disk); n != before+1 {
			t.Errorf("%v: %d full copies behind %d", rule.Err, n, before)
		}
		again := openManual(t, inner.PowerCut(crashfs.KeepNothing))
		closeStore(t, again)
		wantFilled(t, s, 0, 60, 100)
		closeStore(t, s)
	}
}

// Once it is unknown what the manifest on disk says, the store has failed.
func TestEditOfUnknownOutcomeIsFinal(t *testing.T) {
	sync := errorfs.Rule{Match: isEdit(errorfs.Datasync), Err: syscall.ENOSPC}
	write := errorfs.Rule{Match: isEdit(errorfs.Write), Err: syscall.EIO}
	torn := []errorfs.Rule{
		{Match: isEdit(errorfs.Write), Nth: 2, Short: true, Forever: true, Err: syscall.ENOSPC},
		{Match: isCopy, Err: syscall.ENOSPC},
	}
	for name, rules := range map[string][]errorfs.Rule{"sync": {sync}, "write": {write}, "neither made nor taken back": torn} {
		inner := crashfs.New()
		s, disk := onForgetful(t, inner)
		fill(t, s, 0, 60, 100)
		for _, rule := range rules {
			disk.Fail(rule)
		}
		if err := s.nextFile(); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
		disk.Heal()
		if err := s.Put([]byte("more"), nil); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: a later put: %v", name, err)
		}
		for _, left := range []*crashfs.Disk{inner.Kill(), inner.PowerCut(crashfs.KeepAll)} {
			again := openManual(t, left)
			wantFilled(t, again, 0, 60, 100)
			closeStore(t, again)
		}
		if err := s.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
}

// A failed sync leaves the last edits only in the page cache, and a process reopens the
// store. It removes files because of these edits. A power loss must not bring back a
// manifest that names the removed files.
func TestOpenSettlesAnEditThatWasNotSynced(t *testing.T) {
	for _, compacting := range []bool{true, false} {
		inner := crashfs.New()
		s, disk := onForgetful(t, inner)
		fill(t, s, 0, 100, 100)
		fill(t, s, 0, 50, 100)
		closeStore(t, s)
		s, disk = onForgetful(t, inner)
		keys := 100 // the first new put writes a full copy
		for ; s.log.Prepared == nil; keys++ {
			fill(t, s, keys, keys+1, 100)
			for _, step := range []func() (bool, error){s.log.StepSeal, s.log.StepPrepare} {
				if _, err := step(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		unsynced := errorfs.Rule{Match: isEdit(errorfs.Datasync), Err: syscall.EIO}
		var err error
		if compacting {
			s.options.seams.Between = func(phase string) {
				if phase == "logged" {
					disk.Fail(unsynced)
				}
			}
			err = s.Compact(context.Background())
		} else {
			disk.Fail(unsynced)
			err = s.Close() // with an edit that unlists the prepared file
		}
		if !errors.Is(err, ErrFailed) || disk.Fired() != 1 {
			t.Fatalf("an edit that is not synced: %v, fired %d times", err, disk.Fired())
		}
		left := inner.Kill()
		again := openManual(t, left)
		wantFilled(t, again, 0, keys, 100)
		for _, keep := range []crashfs.Chooser{crashfs.KeepNothing, crashfs.KeepAll} {
			last := openManual(t, left.PowerCut(keep))
			wantFilled(t, last, 0, keys, 100)
			closeStore(t, last)
		}
		closeStore(t, again)
	}
}

// An edit goes only into a manifest that this process has synced as a whole, not into
// the one that it found.
func TestFirstEditIsAFullCopy(t *testing.T) {
	inner := crashfs.New()
	s, _ := onForgetful(t, inner)
	fill(t, s, 0, 60, 100)
	closeStore(t, s)
	if appended(t, inner) == 0 {
		t.Error("no edit was appended")
	}
	s, disk := onForgetful(t, inner)
	put(t, s, "more", "")
	for _, op := range disk.Calls() {
		if isEdit(errorfs.Write)(op) {
			t.Errorf("it is written to: %v", op)
		}
	}
	if n := fullCopies(disk); n != 1 {
		t.Errorf("%d full copies", n)
	}
	closeStore(t, s)
}

// Open reads a manifest of the first version and goes on in the current one.
func TestManifestOfTheFirstVersionGoesOn(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := t.TempDir()
		s := open(t, dir, tiny())
		fill(t, s, 0, 60, 100)
		if clean {
			closeStore(t, s)
		} else {
			dir = killed(t, s, dir)
		}
		replaceBytes(t, dir, segment.ManifestName, firstVersion(manifestOf(t, dir)))
		if r := verified(t, dir); r.Err() != nil {
			t.Error(r.Err())
		}
		s = open(t, dir, tiny())
		wantFilled(t, s, 0, 60, 100)
		fill(t, s, 60, 80, 100)
		closeStore(t, s)
		if version := bytesOf(t, dir, segment.ManifestName)[8]; version != 2 {
			t.Errorf("the manifest is of version %d", version)
		}
		s = open(t, dir, tiny())
		wantFilled(t, s, 0, 80, 100)
		closeStore(t, s)
	}
}

// firstVersion encodes a manifest in the first version's format.
func firstVersion(m *segment.Manifest) []byte {
	const headerSize, versionAt, sumAt, sizeAt, saltAt, bodyAt = 32, 8, 12, 16, 24, 32
	const bodySize, infoSize = 56, 40
	block := m.Append(nil)[:bodyAt+bodySize+infoSize*len(m.Segments)]
	binary.LittleEndian.PutUint32(block[versionAt:], 1)
	binary.LittleEndian.PutUint64(block[sizeAt:], uint64(len(block)-headerSize))
	binary.LittleEndian.PutUint64(block[saltAt:], 0)
	sum := crc32.Checksum(block[sizeAt:], crc32.MakeTable(crc32.Castagnoli))
	// The mask of a body's checksum, as in segment/checksum.go.
	x := uint64(0x9ddfea08eb382d69)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	binary.LittleEndian.PutUint32(block[sumAt:], sum^uint32(x^x>>31))
	return bytes.Repeat(block, 2)
}

// limitedFS is a disk with a limited number of inodes for files in the store.
type limitedFS struct {
	vfs.FS
	most int // 0: no limit
}

type limitedDir struct {
	vfs.Dir
	fs *limitedFS
}

func (l *limitedFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := l.FS.OpenDir(path)
	return limitedDir{dir, l}, err
}

func (d limitedDir) Create(name string) (vfs.File, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	if d.fs.most > 0 && len(names) >= d.fs.most {
		return nil, syscall.ENOSPC
	}
	return d.Dir.Create(name)
}

// files counts the files on the disk.
func (l *limitedFS) files(t *testing.T) int {
	t.Helper()
	return len(l.FS.(*crashfs.Disk).Files())
}

// Delete, Close and Open work when no inode is left, however often the log moves to
// another file. This holds after a kill too, as far as a full disk has room for recovery.
func TestNoInodesLeft(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Never} {
		inner := crashfs.New()
		disk := &limitedFS{FS: inner}
		reopen := func(on vfs.FS) *Store {
			o := tiny()
			o.Sync, o.Compaction.Disabled = policy, true
			inject.Into(o, &inject.Seams{FS: on, Manual: true})
			return open(t, "/store", o)
		}
		s := reopen(disk)
		const keys = 400
		fill(t, s, 0, keys, 100)
		for did := true; did; {
			var err error
			if did, err = s.log.StepSeal(); err != nil {
				t.Fatal(err)
			}
		}
		disk.most = disk.files(t)
		refused := 0
		for i := range keys {
			key, _ := numbered(i, 0)
			if err := s.Delete(key); err != nil {
				t.Fatalf("%v: deleting key %d: %v", policy, i, err)
			}
			wantAbsent(t, s, string(key))
			if i%40 != 20 {
				continue
			}
			for err := error(nil); err == nil && refused == 0; { // until the log needs a new file
				if err = s.Put([]byte("more"), make([]byte, 900)); err != nil {
					refused++
					if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
						t.Fatalf("%v: Put: %v", policy, err)
					}
				}
			}
			if policy == fsync.Never {
				continue // recovery copies more than the last group, perhaps to several files
			}
			left := inner.Kill()
			again := reopen(&limitedFS{FS: left, most: disk.most})
			wantAbsent(t, again, string(key))
			wantFilled(t, again, i+1, keys, 100)
			closeStore(t, again)
		}
		closeStore(t, s)
		if refused == 0 {
			t.Errorf("%v: no put was refused", policy)
		}
		s = reopen(disk)
		if n := s.Len(); n > 1 {
			t.Errorf("%v: %d keys", policy, n)
		}
		disk.most = 0
		fill(t, s, 0, keys, 100)
		closeStore(t, s)
		if !strings.Contains(strings.Join(inner.Files(), " "), segment.SpareName(segment.SpareFiles-1)) {
			t.Error("there is no file ready again")
		}
	}
}
