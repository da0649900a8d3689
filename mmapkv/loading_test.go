package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// openHeld opens a store whose index stays empty until somebody calls for it.
func openHeld(t *testing.T, dir string, disk vfs.FS) *Store {
	t.Helper()
	o := byHand()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, Hold: true})
	return open(t, dir, o)
}

// layers makes a store of several files. In each key-0 is overwritten, key-1 is deleted or put again, and
// another key is new.
func layers(t *testing.T, files int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, byHand())
	for i := range files {
		put(t, s, "overwritten", fmt.Sprint("value ", i))
		put(t, s, fmt.Sprint("new ", i), "value")
		if i%2 == 0 {
			put(t, s, "there by turns", "value")
		} else if err := s.Delete([]byte("there by turns")); err != nil {
			t.Fatal(err)
		}
		s.endForTest(t)
	}
	closeStore(t, s)
	return dir
}

// wantLayers checks, by reads of single keys, what layers made.
func wantLayers(t *testing.T, s *Store, files int) {
	t.Helper()
	wantValue(t, s, "overwritten", fmt.Sprint("value ", files-1))
	for i := range files {
		wantValue(t, s, fmt.Sprint("new ", i), "value")
	}
	wantAbsent(t, s, "never")
	if files%2 == 1 {
		wantValue(t, s, "there by turns", "value")
	} else {
		wantAbsent(t, s, "there by turns")
	}
}

// After each step of loading, the first one included, reads find what they find once the index is full.
func TestReadsWhileTheIndexLoads(t *testing.T) {
	for _, files := range []int{6, 7} {
		s := openHeld(t, layers(t, files), nil)
		steps := 0
		for more := true; more; steps++ {
			wantLayers(t, s, files)
			if _, err := s.loading.Step(); err != nil {
				t.Fatal(err)
			}
			more = s.Stats().Loading
		}
		if steps < files {
			t.Errorf("%d files are loaded in %d steps", files, steps)
		}
		wantLayers(t, s, files)
		if want := files + 1 + files%2; s.Len() != want {
			t.Errorf("%d keys; want %d", s.Len(), want)
		}
		checkAccounts(t, s)
	}
}

// What is written between two steps of loading wins over what is loaded later, and is there after the
// next Open.
func TestWritesWhileTheIndexLoads(t *testing.T) {
	const files = 6
	template := layers(t, files)
	for steps := range 12 {
		for _, readOnlyFirst := range []bool{false, true} {
			dir := copyDir(t, template)
			s := openHeld(t, dir, nil)
			for range steps {
				if _, err := s.loading.Step(); err != nil {
					t.Fatal(err)
				}
			}
			put(t, s, "overwritten", "now")
			put(t, s, "there by turns", "now")
			for _, key := range []string{"new 0", "new 5", "never", "there by turns"} {
				if err := s.Delete([]byte(key)); err != nil {
					t.Fatal(err)
				}
			}
			var b Batch
			b.Delete([]byte("new 1"))
			b.Put([]byte("new 1"), []byte("revived"))
			b.Put([]byte("new 2"), []byte("never seen"))
			b.Delete([]byte("new 2"))
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			check := func() {
				t.Helper()
				wantValue(t, s, "overwritten", "now")
				wantValue(t, s, "new 1", "revived")
				wantValue(t, s, "new 3", "value")
				for _, key := range []string{"new 0", "new 2", "new 5", "never", "there by turns"} {
					wantAbsent(t, s, key)
				}
			}
			check()
			s.endForTest(t) // seals the tail
			for s.Stats().Loading {
				if _, err := s.loading.Step(); err != nil {
					t.Fatal(err)
				}
				check()
			}
			if s.Len() != 4 {
				t.Errorf("%d keys", s.Len())
			}
			s.catalog.Set().Keys.Range(func(_ index.Fingerprint, loc index.Location) bool {
				if loc.Tombstone() {
					t.Error("a placeholder is left in the index")
				}
				return true
			})
			checkAccounts(t, s)
			closeStore(t, s)
			if readOnlyFirst {
				o := byHand()
				o.ReadOnly = true
				s = open(t, dir, o)
				check()
				closeStore(t, s)
			}
			s = openHeld(t, dir, nil)
			check()
			closeStore(t, s)
		}
	}
}

// The tail goes on, ends and is sealed before it is loaded. Its hint is then another one.
func TestTailIsSealedBeforeItIsLoaded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "a", "before")
	put(t, s, "b", "before")
	put(t, s, "c", "before")
	closeStore(t, s)
	for _, readsFirst := range []bool{false, true} {
		s := openHeld(t, copyDir(t, dir), nil)
		if readsFirst {
			wantValue(t, s, "a", "before")
		}
		put(t, s, "b", "after")
		if err := s.Delete([]byte("c")); err != nil {
			t.Fatal(err)
		}
		s.endForTest(t)
		put(t, s, "d", "after")
		for range 2 {
			wantValue(t, s, "a", "before")
			wantValue(t, s, "b", "after")
			wantValue(t, s, "d", "after")
			wantAbsent(t, s, "c")
			if s.Len() != 3 {
				t.Errorf("%d keys", s.Len())
			}
		}
		if stats := s.Stats(); stats.Recovery.HintsRebuilt != 0 {
			t.Errorf("%+v", stats.Recovery)
		}
		checkAccounts(t, s)
		for _, f := range s.catalog.Set().Order[:1] {
			if due, is := f.HintDue.Load(), f.HintBytes.Load(); due > is {
				t.Errorf("a hint of %d bytes counts as %d", is, due)
			}
		}
	}
}

// A record that expired is the youngest of its key, whether the index has it or only a hint.
func TestExpiredRecordHidesOlderOnesWhileTheIndexLoads(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	s := open(t, dir, byHand())
	put(t, s, "key", "old")
	s.endForTest(t)
	if err := s.PutWithTTL([]byte("key"), []byte("expires"), time.Hour); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, ahead := range []time.Duration{0, 2 * time.Hour} {
		o := byHand()
		clock := now.Add(ahead)
		inject.Into(o, &inject.Seams{Manual: true, Hold: true, Now: func() time.Time { return clock }})
		s := open(t, dir, o)
		clock = now.Add(2 * time.Hour)
		for s.Stats().Loading {
			wantAbsent(t, s, "key")
			if _, err := s.sweeper.Step(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.loading.Step(); err != nil {
				t.Fatal(err)
			}
		}
		wantAbsent(t, s, "key")
		closeStore(t, s)
	}
}

// Nothing is compacted, and no file or hint goes, before the index is full: not even for a delete on a
// full disk.
func TestNothingIsCompactedBeforeTheIndexIsFull(t *testing.T) {
	dir := layers(t, 6)
	o := tiny()
	inject.Into(o, &inject.Seams{Manual: true, Hold: true})
	s := open(t, dir, o)
	before, _ := diskUse(t, dir)
	if did, err := s.compactor.Step(); did || err != nil {
		t.Errorf("a compaction: %v, %v", did, err)
	}
	if after, _ := diskUse(t, dir); after != before {
		t.Errorf("%d bytes on disk became %d", before, after)
	}
	if !s.Stats().Loading {
		t.Fatal("the index is full")
	}
	if !s.compactor.MakeRoom() || s.Stats().Loading {
		t.Error("room was not made, or before the index was full")
	}
	wantLayers(t, s, 6)
	closeStore(t, s)

	s = openHeld(t, dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Compact(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Compact: %v", err)
	}
	compactAll(t, s)
	if s.Stats().Loading {
		t.Error("Compact did not wait")
	}
	wantLayers(t, s, 6)
}

// A hint that cannot be used is rebuilt for the first read that needs it.
func TestReadsOfAFileWithoutAHintWhileTheIndexLoads(t *testing.T) {
	for _, spoil := range []func(t *testing.T, dir, name string){
		func(t *testing.T, dir, name string) { remove(t, dir, name) },
		func(t *testing.T, dir, name string) { flipAt(t, dir, name, 90) },
		func(t *testing.T, dir, name string) { flipAt(t, dir, name, 10) },
	} {
		dir := layers(t, 6)
		for _, id := range []segment.ID{2, 4} {
			spoil(t, dir, segment.HintName(id))
		}
		s := openHeld(t, dir, nil)
		wantLayers(t, s, 6)
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready: %v", err)
		}
		wantLayers(t, s, 6)
		if n := s.Stats().Recovery.HintsRebuilt; n != 2 {
			t.Errorf("%d hints were rebuilt", n)
		}
	}
}

// While the system lacks descriptors, reads that need a hint say so, Ready says so, and nobody waits.
// Then all is well.
func TestLoadingWithoutDescriptors(t *testing.T) {
	for _, manual := range []bool{true, false} {
		disk := errorfs.New(vfs.OS())
		o := byHand()
		inject.Into(o, &inject.Seams{FS: disk, Manual: manual, Hold: manual})
		disk.Fail(fails(syscall.EMFILE, ".hint", errorfs.Open))
		s := open(t, layers(t, 6), o)
		for range 2 {
			if err := s.Ready(t.Context()); !errors.Is(err, syscall.EMFILE) {
				t.Errorf("Ready: %v", err)
			}
			for _, key := range []string{"overwritten", "never", "new 0"} {
				if _, err := s.Get([]byte(key)); !errors.Is(err, syscall.EMFILE) {
					t.Errorf("Get(%q): %v", key, err)
				}
			}
		}
		put(t, s, "overwritten", "now")
		wantValue(t, s, "overwritten", "now")
		if err := s.Delete([]byte("new 0")); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, s, "new 0")
		if err := s.Range(func(_, _ []byte) error { return nil }); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("Range: %v", err)
		}
		if err := s.Compact(t.Context()); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("Compact: %v", err)
		}
		if !s.Stats().Loading {
			t.Error("the index is full")
		}
		disk.Heal()
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready: %v", err)
		}
		wantValue(t, s, "overwritten", "now")
		wantAbsent(t, s, "new 0")
		wantValue(t, s, "new 1", "value")
		checkAccounts(t, s)
		closeStore(t, s)
	}
}

// The youngest file cannot be loaded, and the others are. A read never takes an older value, or none,
// for what the youngest file may hold.
func TestOlderHitIsNotBelievedWhileTheIndexLoads(t *testing.T) {
	disk := errorfs.New(vfs.OS())
	dir := layers(t, 6)
	disk.Fail(fails(syscall.EMFILE, segment.HintName(6), errorfs.Open))
	s := openHeld(t, dir, disk)
	if err := s.Ready(t.Context()); !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("Ready: %v", err)
	}
	for _, key := range []string{"overwritten", "there by turns", "new 2", "never"} {
		if got, err := s.Get([]byte(key)); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("Get(%q) = %q, %v", key, got, err)
		}
	}
	disk.Heal()
	wantLayers(t, s, 6)
	if !s.Stats().Loading {
		t.Error("the index is full")
	}
	if s.Len() != 7 {
		t.Errorf("%d keys", s.Len())
	}
	wantLayers(t, s, 6)
}

// Close while a store cannot load releases everybody who waits.
func TestCloseWhileTheIndexCannotLoad(t *testing.T) {
	disk := errorfs.New(vfs.OS())
	o := byHand()
	inject.Into(o, &inject.Seams{FS: disk})
	disk.Fail(fails(syscall.EMFILE, ".hint", errorfs.Open))
	s := open(t, layers(t, 4), o)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if n := s.Len(); n != 0 {
			t.Errorf("Len is %d", n)
		}
	})
	waiting.Go(func() {
		for range s.Keys() {
			t.Error("Keys yields a key")
		}
	})
	put(t, s, "key", "value")
	closeStore(t, s)
	waiting.Wait()
	if err := s.Ready(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ready: %v", err)
	}
}

// Damage that loading finds is told by Ready, by reads of keys that may be there, and by Stats.
func TestDamageIsToldWhileTheIndexLoads(t *testing.T) {
	dir := layers(t, 6)
	remove(t, dir, segment.HintName(2))
	flipAt(t, dir, segment.FileName(2), segment.HeaderSize+40) // in the first record: "overwritten"
	s := openHeld(t, dir, nil)
	wantValue(t, s, "overwritten", "value 5")
	if _, err := s.Get([]byte("never")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get of what may lie in the damage: %v", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, ErrCorrupt) || s.Stats().Loading {
		t.Errorf("Ready: %v", err)
	}
	if damages := s.Stats().Recovery.Damages; len(damages) != 1 || damages[0].File != segment.FileName(2) {
		t.Errorf("%v", damages)
	}
	wantAbsent(t, s, "never") // what cannot be read has been told by now
}

// storeOf makes a store that is too large to be loaded by Open.
func storeOf(t testing.TB, keys int) (dir string, o *Options) {
	t.Helper()
	dir = t.TempDir()
	o = &Options{SegmentSize: 1 << 20, Sync: fsync.Never, Compaction: Compaction{Disabled: true}}
	s := open(t, dir, o)
	var b Batch
	for i := range keys {
		key, value := numbered(i, 100)
		if b.Put(key, value); b.Len() == 1000 || i == keys-1 {
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	closeStore(t, s)
	return dir, o
}

// Readers and writers are right beside the workers that load.
func TestReadsAndWritesBesideLoading(t *testing.T) {
	const keys = 60_000
	dir, o := storeOf(t, keys)
	for round := range 3 {
		s := open(t, dir, o)
		var running sync.WaitGroup
		var loaded atomic.Bool
		for g := range 3 {
			running.Go(func() {
				for i := g; i < keys && !t.Failed(); i += 97 {
					key, value := numbered(i, 100)
					switch {
					case i%3 == 0:
						wantValue(t, s, string(key), string(value))
					case i%3 == 1:
						put(t, s, string(key), fmt.Sprint("round ", round))
						wantValue(t, s, string(key), fmt.Sprint("round ", round))
					default:
						if err := s.Delete(key); err != nil {
							t.Error(err)
						}
						wantAbsent(t, s, string(key))
					}
					loaded.Store(!s.Stats().Loading)
				}
			})
		}
		running.Wait()
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		deleted := 0
		for i := range keys {
			if g := i % 97; g < 3 && i%3 == 2 {
				deleted++
				key, _ := numbered(i, 100)
				wantAbsent(t, s, string(key))
			}
		}
		if s.Len() != keys-deleted {
			t.Errorf("%d keys; want %d", s.Len(), keys-deleted)
		}
		checkAccounts(t, s)
		closeStore(t, s)
	}
}

// Close stops loading, whatever it does at the moment. TestMain looks for goroutines.
func TestCloseWhileTheIndexLoads(t *testing.T) {
	dir, o := storeOf(t, 60_000)
	for _, hints := range []string{"", "*1.hint", "*.hint"} {
		if hints != "" {
			remove(t, dir, hints)
		}
		for range 5 {
			s := open(t, dir, o)
			put(t, s, "key", "value")
			wantValue(t, s, "key", "value")
			closeStore(t, s)
		}
	}
	s := open(t, dir, o)
	if s.Len() != 60_001 {
		t.Errorf("%d keys", s.Len())
	}
	checkAccounts(t, s)
}
