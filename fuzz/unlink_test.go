package fuzz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// A compaction ends with unlinking its input files and their hints. Whichever of
// them a crash leaves, in whatever order the file system did that, is of no
// account; nor is, before the manifest is committed, what there is of its output.

// unlinking is one compaction of so many files, and what the disk was at the
// moments that matter.
type unlinking struct {
	t     *testing.T
	files int
	extra bool // files beside the run, and writes in the midst of it

	disk  *crashfs.Disk
	store *mmapkv.Store
	steps []inject.Step
	now   int64
	want  map[string]string // what the store holds

	uncommitted []snapshot // before the manifest says it
	committed   []snapshot // after the swap, before the first unlink
	removed     []string   // what the compaction unlinked
}

// snapshot is what a crash leaves, and what is expected of it.
type snapshot struct {
	what string
	disk *crashfs.Disk
	want map[string]string
}

const storeDir = "/store"

func (u *unlinking) open(disk *crashfs.Disk, readOnly bool) (*mmapkv.Store, error) {
	o := &mmapkv.Options{SegmentSize: 4 << 10, Sync: fsync.Always, ReadOnly: readOnly}
	o.Compaction.Disabled = true
	seams := &inject.Seams{FS: disk, Now: func() time.Time { return time.UnixMilli(u.now) }, Manual: true}
	if disk == u.disk {
		seams.Between = u.between
		seams.OnOpen = func(steps []inject.Step) { u.steps = steps }
	}
	inject.Into(o, seams)
	return mmapkv.Open(storeDir, o)
}

func (u *unlinking) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u *unlinking) put(key, value string) {
	u.t.Helper()
	u.must(u.store.Put([]byte(key), []byte(value)))
	u.want[key] = value
}

func (u *unlinking) remove(key string) {
	u.t.Helper()
	u.must(u.store.Delete([]byte(key)))
	delete(u.want, key)
}

// sealed seals what has ended and says how many sealed files there are.
func (u *unlinking) sealed() (n int) {
	u.t.Helper()
	for _, step := range u.steps {
		for did := step.Name == "seal"; did; {
			var err error
			did, err = step.Run()
			u.must(err)
		}
	}
	for _, s := range u.store.Stats().Segments {
		if s.Sealed {
			n++
		}
	}
	return n
}

// build writes the files of the run, each with values that were overwritten later
// or were not, deletes, and records that expire or have expired.
func (u *unlinking) build() {
	u.t.Helper()
	older := 0
	if u.extra {
		// An older file that is not worth a rewrite, and whose key must stay deleted.
		u.put("victim", "old")
		for u.sealed() == 0 {
			u.put(fmt.Sprint("older", len(u.want)), strings.Repeat("o", 100))
		}
		older = 1
		u.remove("victim")
	}
	for i := range u.files {
		u.put(fmt.Sprint("kept", i), fmt.Sprint("of file ", i))
		u.put(fmt.Sprint("again", i%2), fmt.Sprint("in file ", i))
		u.put(fmt.Sprint("gone", i), "deleted in the next file")
		if i > 0 {
			u.remove(fmt.Sprint("gone", i-1))
		}
		u.must(u.store.PutWithTTL(fmt.Append(nil, "short", i), []byte("lived"), time.Second))
		u.must(u.store.PutWithTTL(fmt.Append(nil, "long", i), []byte("lives"), time.Hour))
		u.want[fmt.Sprint("long", i)] = "lives"
		// The last file is ended by the compaction.
		for n := 0; i < u.files-1 && u.sealed() == older+i; n++ {
			u.put("filler", fmt.Sprint(n, strings.Repeat("f", 200)))
		}
	}
	u.put("filler", "last but one") // so that there is garbage in any case
	u.put("filler", "last")
	u.now += 2000
}

// between is called by the compaction.
func (u *unlinking) between(phase string) {
	switch phase {
	case "copied", "logged":
		u.uncommitted = append(u.uncommitted, u.snapshots(phase)...)
	}
	if !u.extra {
		return
	}
	switch phase {
	case "copied":
		u.put("again0", "meanwhile")
	case "edited":
		u.remove("kept0")
	case "moved":
		u.put("meanwhile", "new")
	}
}

// snapshots are what is left of the disk when it ends now.
func (u *unlinking) snapshots(when string) []snapshot {
	want := maps.Clone(u.want)
	return []snapshot{
		{when + ", killed", u.disk.Kill(), want},
		{when + ", power cut, nothing kept", u.disk.PowerCut(crashfs.KeepNothing), want},
		{when + ", power cut, all kept", u.disk.PowerCut(crashfs.KeepAll), want},
	}
}

// compact makes the store, compacts once, and keeps the snapshots.
func (u *unlinking) compact() {
	u.t.Helper()
	var err error
	u.store, err = u.open(u.disk, false)
	u.must(err)
	u.build()
	u.disk.OnCall = func(_ int, op crashfs.Op) {
		_, kind, _ := segment.ParseFileName(path.Base(op.Name))
		if op.Kind != crashfs.Remove || kind != segment.SegmentFile && kind != segment.HintFile {
			return
		}
		if len(u.uncommitted) == 0 {
			return // nothing is copied yet; it is the file that writers could have used
		}
		if len(u.removed) == 0 {
			u.committed = u.snapshots("swapped")
		}
		u.removed = append(u.removed, path.Base(op.Name))
	}
	u.must(u.store.Compact(context.Background()))
	u.disk.OnCall = nil
	if len(u.removed) != 2*u.files || u.store.Stats().Compaction.Runs != 1 {
		u.t.Fatalf("%d files were to be compacted once, and %v were unlinked by %+v", u.files, u.removed, u.store.Stats().Compaction)
	}
}

// without is a copy of the disk on which the names of a subset, by bits, are gone.
// Names that are not there are no matter.
func (u *unlinking) without(disk *crashfs.Disk, names []string, subset int) (*crashfs.Disk, []string) {
	u.t.Helper()
	copied := disk.Clone()
	dir, err := copied.OpenDir(storeDir)
	u.must(err)
	defer dir.Close()
	there, err := dir.Names()
	u.must(err)
	var removed []string
	for i, name := range names {
		if subset>>i&1 == 1 && slices.Contains(there, name) {
			u.must(dir.Remove(name))
			removed = append(removed, name)
		}
	}
	return copied, removed
}

// examine opens what a crash has left: read-only, for good, and once again.
func (u *unlinking) examine(what string, disk *crashfs.Disk, want map[string]string) (rebuilt int) {
	u.t.Helper()
	for pass, readOnly := range []bool{true, false, false} {
		store, err := u.open(disk, readOnly)
		if err != nil {
			u.t.Fatalf("%s: open %d: %v", what, pass, err)
		}
		reader := &life{t: u.t, name: what, ended: fmt.Sprint(", open ", pass), disk: disk}
		if shown := reader.content(store); !maps.Equal(shown, want) {
			reader.fail("it shows %v and not %v", shown, want)
		}
		if got, err := store.Get([]byte("victim")); !errors.Is(err, mmapkv.ErrNotFound) {
			reader.fail("what was deleted is %q, %v", got, err)
		}
		recovery := store.Stats().Recovery
		if len(recovery.Damages) > 0 || pass == 2 && !recovery.Clean {
			reader.fail("recovery found %+v", recovery)
		}
		if pass == 1 {
			rebuilt = recovery.HintsRebuilt
		}
		if !readOnly {
			reader.checkDirectory(store, 0)
		}
		u.must(store.Close())
	}
	return rebuilt
}

// outputs are the files of a disk that the manifest of the store did not yet name
// when it was taken: the output of the compaction and its hint.
func (u *unlinking) outputs(disk *crashfs.Disk) (names []string) {
	u.t.Helper()
	dir, err := disk.OpenDir(storeDir)
	u.must(err)
	defer dir.Close()
	there, err := dir.Names()
	u.must(err)
	for _, s := range u.store.Stats().Segments {
		id, _, _ := segment.ParseFileName(s.File)
		if s.Merged && slices.Contains(there, s.File) {
			names = append(names, s.File, segment.HintName(id))
		}
	}
	return names
}

// maxUnlinked is how many files the compaction of a test has at most: with their
// hints there are 1,024 subsets.
const maxUnlinked = 5

func TestEverySubsetOfTheUnlinks(t *testing.T) {
	states := 0
	sample := rand.New(rand.NewPCG(1, 2))
	for files := 1; files <= maxUnlinked; files++ {
		for _, extra := range []bool{false, true} {
			u := &unlinking{t: t, files: files, extra: extra, disk: crashfs.New(), now: 1_000_000, want: map[string]string{}}
			u.compact()
			for _, after := range u.committed {
				for subset := range 1 << len(u.removed) {
					if sample.IntN(sampleOneIn) != 0 {
						continue
					}
					disk, gone := u.without(after.disk, u.removed, subset)
					u.examine(fmt.Sprintf("%d files, extra %v, %s, without %v", files, extra, after.what, gone), disk, after.want)
					states++
				}
			}
			u.examineUncommitted(&states)
			u.must(u.store.Close())
			u.examine(fmt.Sprintf("%d files, extra %v, closed", files, extra), u.disk, u.want)
		}
	}
	t.Logf("%d states", states)
}

// examineUncommitted removes every subset of the output and its hint, and of the
// hints of the input, which are made anew.
func (u *unlinking) examineUncommitted(states *int) {
	u.t.Helper()
	for _, before := range u.uncommitted {
		names := u.outputs(before.disk)
		if len(names) != 2 {
			u.t.Fatalf("%s: there is %v of the output", before.what, names)
		}
		outputs := len(names)
		for _, name := range u.removed {
			if _, kind, _ := segment.ParseFileName(name); kind == segment.HintFile {
				names = append(names, name)
			}
		}
		intact := 0
		for subset := range 1 << len(names) {
			disk, gone := u.without(before.disk, names, subset)
			rebuilt := u.examine(fmt.Sprintf("%d files, extra %v, %s, without %v", u.files, u.extra, before.what, gone), disk, before.want)
			if subset == 0 {
				intact = rebuilt
			}
			hints := len(slices.DeleteFunc(gone, func(name string) bool { return slices.Contains(names[:outputs], name) }))
			if rebuilt != intact+hints {
				u.t.Errorf("%s: %d hints were made anew for %d that are gone", before.what, rebuilt-intact, hints)
			}
			*states++
		}
	}
}
