//go:build linux

package realdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// stepDisk is the size of this file's disks. stepBlocks is one more block than any step below
// needs.
const (
	stepDisk   = 1 << 20
	stepBlocks = 33
)

// blockStep is by how many blocks one run differs from the next: more where little differs.
// MMAPKV_NO_SKIP skips nothing.
func blockStep(policy fsync.Policy) int {
	switch {
	case os.Getenv("MMAPKV_NO_SKIP") != "":
		return 1
	case policy == fsync.Always:
		return 2
	}
	return 4
}

// TestRotationOnAFullDisk leaves ever more free blocks, from none on, before each step of a
// rotation.
func TestRotationOnAFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		for _, moment := range []string{"rotate", "seal", "prepare"} {
			for blocks := 0; blocks < stepBlocks; blocks += blockStep(policy) {
				t.Run(fmt.Sprint(policy, ", ", blocks, " blocks before ", moment), func(t *testing.T) {
					f := newFullAtStep(t, policy)
					f.rotate(moment, blocks)
					f.afterwards()
				})
			}
		}
	}
}

// TestCompactionOnAFullDisk leaves ever more free blocks, from none on, at the beginning of a
// compaction and between its phases.
func TestCompactionOnAFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, policy := range policies {
		for _, moment := range []string{"begin", "copied", "logged", "edited", "shown", "moved", "retired"} {
			for blocks := 0; blocks < stepBlocks; blocks += blockStep(policy) {
				if moment != "begin" && blocks > 3 {
					break // from there on it needs only one, for the manifest
				}
				t.Run(fmt.Sprint(policy, ", ", blocks, " blocks, ", moment), func(t *testing.T) {
					f := newFullAtStep(t, policy)
					f.compact(moment, blocks)
					f.afterwards()
				})
			}
		}
	}
}

// fullAtStep is a store without goroutines, on a disk of its own.
type fullAtStep struct {
	*checkedStore
	disk    string
	steps   []inject.Step
	between func(phase string)
	refused []string
}

func newFullAtStep(t *testing.T, policy fsync.Policy) *fullAtStep {
	t.Helper()
	f := &fullAtStep{disk: t.TempDir(), between: func(string) {}}
	mountTmpfs(t, f.disk, stepDisk)
	options := mmapkv.Options{SegmentSize: 32 << 10, Sync: policy}
	inject.Into(&options, &inject.Seams{
		Manual:  true,
		OnOpen:  func(steps []inject.Step) { f.steps = steps },
		Between: func(phase string) { f.between(phase) },
	})
	f.checkedStore = openChecked(t, filepath.Join(f.disk, "store"), options)
	f.takeSteps()
	f.mustPut(100, 1000)
	return f
}

// step runs one kind of background step, which may fail only because the disk is full.
func (f *fullAtStep) step(name string) {
	f.t.Helper()
	for _, step := range f.steps {
		if step.Name == name {
			_, err := step.Run()
			f.wantFull(name, err)
		}
	}
}

// takeSteps runs all kinds of steps in turn.
func (f *fullAtStep) takeSteps() {
	f.t.Helper()
	for range 4 {
		for _, name := range []string{"sync", "seal", "prepare"} {
			f.step(name)
		}
	}
}

func (f *fullAtStep) wantFull(what string, err error) {
	f.t.Helper()
	if err != nil && (!errors.Is(err, syscall.ENOSPC) || errors.Is(err, mmapkv.ErrFailed)) {
		f.t.Fatalf("%s on a full disk: %v", what, err)
	}
}

// leave fills the disk except for the given number of blocks.
func (f *fullAtStep) leave(blocks int) {
	f.t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(f.disk, &stat); err != nil {
		f.t.Fatal(err)
	}
	fillUp(f.t, filepath.Join(f.disk, fmt.Sprint("filler ", f.last)), (int64(stat.Bfree)-int64(blocks))*int64(stat.Bsize))
}

// makeRoom removes the files that fill the disk.
func makeRoom(t *testing.T, disk string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(disk, "filler*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// tryPut puts values of 1000 bytes, whether they fit or not.
func (f *fullAtStep) tryPut(count int) {
	f.t.Helper()
	for range count {
		key, err := f.putNew(1000)
		if f.wantFull("Put", err); err != nil {
			f.refused = append(f.refused, key)
		}
	}
}

// rotate fills a file and continues in the next one, with the disk full from the given moment
// on.
func (f *fullAtStep) rotate(moment string, blocks int) {
	f.t.Helper()
	if moment == "rotate" {
		f.leave(blocks)
	}
	f.tryPut(35)
	if moment == "seal" {
		f.leave(blocks)
	}
	f.step("seal")
	if moment == "prepare" {
		f.leave(blocks)
	}
	f.step("prepare")
	f.tryPut(40)
	f.takeSteps()
	f.compare(f.refused)
	if blocks == 0 && len(f.refused) == 0 || blocks == stepBlocks-1 && len(f.refused) > 0 {
		f.t.Errorf("with %d blocks %d writes were refused", blocks, len(f.refused))
	}
}

// compact compacts, with the disk full from the given moment on.
func (f *fullAtStep) compact(moment string, blocks int) {
	f.t.Helper()
	for i, key := range f.keys() {
		if i%2 == 0 {
			f.deleteAll([]string{key})
		}
	}
	f.takeSteps()
	if moment == "begin" {
		f.leave(blocks)
	}
	f.between = func(phase string) {
		if phase == moment {
			f.leave(blocks)
			f.between = func(string) {}
		}
	}
	err := f.Compact(context.Background())
	f.wantFull("Compact", err)
	if moment == "begin" && blocks == stepBlocks-1 && err != nil {
		f.t.Errorf("Compact with %d blocks: %v", blocks, err)
	}
	f.between = func(string) {}
	f.compare(nil)
}

// afterwards deletes on the full disk, opens a copy of the store as after a kill, reopens the
// store itself, frees space, and writes more.
func (f *fullAtStep) afterwards() {
	f.t.Helper()
	f.deleteSome(10)
	f.compare(f.refused)
	f.checkKilled()
	f.mustClose()
	f.open()
	f.compare(f.refused)
	f.deleteSome(10)
	f.tryPut(3)
	f.compare(f.refused)

	makeRoom(f.t, f.disk)
	f.mustPut(50, 1000)
	f.takeSteps()
	if err := f.Compact(context.Background()); err != nil {
		f.t.Fatalf("Compact with space: %v", err)
	}
	f.compare(f.refused)
	f.mustClose()
	f.open()
	f.compare(f.refused)
	f.mustClose()
}

// checkKilled opens a copy of the store on a disk as full as this one. Open copies what was not
// synced, which may need free space first.
func (f *fullAtStep) checkKilled() {
	f.t.Helper()
	steps := f.steps
	other := *f.checkedStore
	disk := f.t.TempDir()
	unmount := mountOver(f.t, disk, stepDisk)
	if err := os.CopyFS(disk, os.DirFS(f.disk)); err != nil {
		f.t.Fatal(err)
	}
	other.dir = filepath.Join(disk, "store")
	store, err := mmapkv.Open(other.dir, &other.options)
	if f.wantFull("Open", err); err != nil {
		if f.options.Sync == fsync.Always {
			f.t.Fatalf("Open of what a kill leaves on a full disk: %v", err)
		}
		makeRoom(f.t, disk)
		other.open()
	} else {
		other.Store = store
	}
	other.compare(f.refused)
	other.mustClose()
	unmount()
	f.steps = steps
}
