package vfs

import (
	"os"
	"testing"
)

func TestDescriptorsAreGivenBack(t *testing.T) {
	path := t.TempDir()
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	useAll := func() {
		dir, err := OS().OpenDir(path)
		must(t, err)
		f, err := dir.Create("file")
		must(t, err)
		_ = second(dir.Create("file"))
		must(t, f.Allocate(10))
		m := mapFile(t, f, 10)
		for _, name := range []string{"file", "absent", "..", "LOCK"} {
			_ = opens(dir, name)
		}
		must(t, os.Mkdir(path+"/directory", 0o700))
		_ = opens(dir, "directory")
		must(t, os.Remove(path+"/directory"))
		lock, err := dir.Lock("LOCK", Exclusive)
		must(t, err)
		_ = second(dir.Lock("LOCK", Shared))
		must(t, lock.Unlock())
		_ = second(dir.Names())
		must(t, dir.Remove("file"))
		must(t, f.Close())
		must(t, m.Unmap())
		must(t, dir.Close())
		must(t, second(MkdirAll(OS(), path)))
		must(t, SyncParents(OS(), path))
	}
	useAll()
	before := count()
	for range 50 {
		useAll()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestParentsThatCannotBeSyncedAreNoError(t *testing.T) {
	if dir := openDir(t, "/proc/sys"); dir.Sync() == nil {
		t.Fatal("the test needs a directory that cannot be synced")
	}
	must(t, SyncParents(OS(), "/proc/sys/vm"))
}

func TestSystemMappings(t *testing.T) {
	if n := systemMappings(); n < 1000 {
		t.Errorf("the system allows %d mappings", n)
	}
}
