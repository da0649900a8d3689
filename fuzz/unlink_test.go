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

// A compaction ends by unlinking its input files and their hints. It must not matter which of
// them a crash leaves, in whatever order the file system removed them. Before the manifest is
// committed, it must not matter which of the compaction's output files exist.

// unlinking is one compaction, and the state of the disk at the moments that matter.
type unlinking struct {
	t     *testing.T
	files int  // input files of the compaction
	extra bool // an older file outside the run, and writes during the compaction

	disk  *crashfs.Disk
	store *mmapkv.Store
	steps []inject.Step
	now   int64
	want  map[string]string // what the store holds

	uncommitted []snapshot // before the manifest has the edit
	committed   []snapshot // after the swap, before the first unlink
	removed     []string   // what the compaction unlinked
}

// snapshot is what a crash leaves, and what a store must show of it.
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

// sealed seals the files that are complete, and returns how many files are sealed.
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

// build writes the files of the run. Each has values that are overwritten later, values that
// are not, deletes, and records that expire or have expired.
func (u *unlinking) build() {
	u.t.Helper()
	older := 0
	if u.extra {
		// An older file, not worth a rewrite, with a key that must stay deleted.
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
		// The compaction ends the last file.
		for n := 0; i < u.files-1 && u.sealed() == older+i; n++ {
			u.put("filler", fmt.Sprint(n, strings.Repeat("f", 200)))
		}
	}
	u.put("filler", "last but one") // so that there is always garbage
	u.put("filler", "last")
	u.now += 2000
}

// between writes during the compaction, and takes snapshots.
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

// snapshots returns what a kill and power cuts would leave of the disk now.
func (u *unlinking) snapshots(when string) []snapshot {
	want := maps.Clone(u.want)
	return []snapshot{
		{when + ", killed", u.disk.Kill(), want},
		{when + ", power cut, nothing kept", u.disk.PowerCut(crashfs.KeepNothing), want},
		{when + ", power cut, all kept", u.disk.PowerCut(crashfs.KeepAll), want},
	}
}

// compact creates the store, compacts it once, and keeps the snapshots.
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
			return // nothing is copied yet; this is the file prepared for writers
		}
		if len(u.removed) == 0 {
			u.committed = u.snapshots("swapped")
		}
		u.removed = append(u.removed, path.Base(op.Name))
	}
	u.must(u.store.Compact(context.Background()))
	u.disk.OnCall = nil
	if len(u.removed) != 2*u.files || u.store.Stats().Compaction.Runs != 1 {
		u.t.Fatalf("one compaction of %d files, want twice as many unlinks: %v, %+v", u.files, u.removed, u.store.Stats().Compaction)
	}
}

// without returns a copy of the disk without the names of a subset, given by bits, and the
// names that it removed. It ignores missing names.
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

// examine opens what a crash left: read-only, then for writing, then once more.
func (u *unlinking) examine(what string, disk *crashfs.Disk, want map[string]string) (rebuilt int) {
	u.t.Helper()
	for pass, readOnly := range []bool{true, false, false} {
		store, err := u.open(disk, readOnly)
		if err != nil {
			u.t.Fatalf("%s: open %d: %v", what, pass, err)
		}
		reader := &life{t: u.t, name: what, ended: fmt.Sprint(", open ", pass), disk: disk}
		if shown := reader.content(store); !maps.Equal(shown, want) {
			reader.fail("it shows %v, want %v", shown, want)
		}
		if got, err := store.Get([]byte("victim")); !errors.Is(err, mmapkv.ErrNotFound) {
			reader.fail("Get of the deleted key: %q, %v", got, err)
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

// outputs returns the names of the compaction's output and its hint, if the disk has them. The
// disk's own manifest does not name them yet.
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

// maxUnlinked is the maximum number of files in a test's compaction: with their hints they have
// 1,024 subsets.
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

// examineUncommitted removes every subset of the output, its hint, and the input's hints. Open
// rebuilds the input's hints.
func (u *unlinking) examineUncommitted(states *int) {
	u.t.Helper()
	for _, before := range u.uncommitted {
		names := u.outputs(before.disk)
		if len(names) != 2 {
			u.t.Fatalf("%s: the output files are %v", before.what, names)
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
				u.t.Errorf("%s: %d hints were rebuilt for %d missing ones", before.what, rebuilt-intact, hints)
			}
			*states++
		}
	}
}
