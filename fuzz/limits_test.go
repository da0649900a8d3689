package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var clockSeed = flag.Uint64("clock.seed", 0, "seed of TestClockJumps; 0 draws one")

// limitedStore is a store on a real disk whose values name their key and version.
type limitedStore struct {
	*mmapkv.Store
	t        *testing.T
	versions map[string]int
}

func (s *limitedStore) put(i int) {
	s.t.Helper()
	key := fmt.Sprint("key ", i)
	s.versions[key]++
	if err := s.Put([]byte(key), limitedValue(key, s.versions[key])); err != nil {
		s.t.Fatalf("Put(%s): %v", key, err)
	}
}

func limitedValue(key string, version int) []byte {
	return []byte(strings.Repeat(fmt.Sprint(key, " version ", version, "; "), 20))
}

func (s *limitedStore) check(when string) {
	s.t.Helper()
	for key, version := range s.versions {
		if got, err := s.Get([]byte(key)); err != nil || string(got) != string(limitedValue(key, version)) {
			s.t.Fatalf("%s: Get(%s) = %.40q, %v; want version %d", when, key, got, err, version)
		}
	}
}

// TestFewMappings limits the mappings of a store, so that rotation, compaction and Open run out
// of them. Everything works without mappings.
func TestFewMappings(t *testing.T) {
	for _, limit := range []int{1, 6} {
		restore := vfs.SetMappingLimit(limit)
		dir := t.TempDir()
		options := mmapkv.Options{SegmentSize: 8 << 10, Sync: fsync.Never}
		s := &limitedStore{t: t, versions: map[string]int{}}
		open := func() {
			t.Helper()
			var err error
			if s.Store, err = mmapkv.Open(dir, &options); err != nil {
				t.Fatal(err)
			}
			s.check("opened")
		}
		open()
		for round := range 3 {
			for i := range 200 {
				s.put(i * (round + 1) % 250)
			}
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.check("compacted")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			open()
		}
		restore()
		for i := range 200 {
			s.put(i)
		}
		s.check("with mappings")
		segments := s.Stats().Segments
		if last := segments[len(segments)-1]; !last.Mapped {
			t.Errorf("limit %d: %s is not mapped, although mappings are available", limit, last.File)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClockJumps sets the clock of a store with goroutines back and forth, by up to a year.
// Nothing hangs or is lost, syncs and compactions still happen, and a key that expires has its
// value or none.
func TestClockJumps(t *testing.T) {
	const interval = 10 * time.Millisecond
	seed := *clockSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-clock.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var offset atomic.Int64
	disk := errorfs.New(vfs.OS())
	options := mmapkv.Options{SegmentSize: 16 << 10, Sync: fsync.Every(interval)}
	options.Compaction.BytesPerSecond = 4 << 20
	inject.Into(&options, &inject.Seams{FS: disk, Now: func() time.Time {
		// Drop the monotonic reading, as when an administrator sets the clock.
		return time.Now().Round(0).Add(time.Duration(offset.Load()))
	}})
	dir := t.TempDir()
	store, err := mmapkv.Open(dir, &options)
	if err != nil {
		t.Fatal(err)
	}
	s := &limitedStore{Store: store, t: t, versions: map[string]int{}}
	jumps := []time.Duration{time.Millisecond, time.Second, time.Hour, 365 * 24 * time.Hour}
	for round := range 60 {
		jump := jumps[rng.IntN(len(jumps))]
		if rng.IntN(2) == 0 {
			jump = -jump
		}
		offset.Add(int64(jump))
		for i := range 30 {
			s.put(rng.IntN(300))
			key := fmt.Append(nil, "short ", i)
			ttl := time.Duration(1+rng.IntN(2000)) * time.Millisecond
			if err := s.PutWithTTL(key, key, ttl); err != nil {
				t.Fatal(err)
			}
			offset.Add(int64(time.Duration(rng.IntN(3)-1) * time.Second)) // between write and read
			if left, ok, err := s.TTL(key); err != nil && !errors.Is(err, mmapkv.ErrNotFound) || err == nil && (!ok || left <= 0) {
				t.Fatalf("TTL of a key with %v: %v, %v, %v", ttl, left, ok, err)
			}
			if value, err := s.Get(key); err == nil && string(value) != string(key) || err != nil && !errors.Is(err, mmapkv.ErrNotFound) {
				t.Fatalf("Get(%s): %q, %v", key, value, err)
			}
		}
		if round%20 == 10 {
			waitForSync(t, disk, s)
		}
		if round%20 == 19 {
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.check("after all jumps")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	offset.Add(-int64(365 * 24 * time.Hour))
	if s.Store, err = mmapkv.Open(dir, &options); err != nil {
		t.Fatal(err)
	}
	s.check("reopened a year earlier")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// waitForSync checks that the background syncs what is written now, whatever the clock says.
func waitForSync(t *testing.T, disk *errorfs.Disk, s *limitedStore) {
	t.Helper()
	s.put(0)
	from := disk.Count()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, call := range disk.Calls()[from:] {
			if call.Kind == errorfs.Datasync && strings.HasSuffix(call.Name, ".seg") {
				return
			}
		}
	}
	t.Fatal("nothing was synced in a minute")
}

// TestReopenWhileTheFailedStoreIsViewed closes a failed store, and opens its directory again in
// the same process, all inside a View of the failed store. The View keeps its value, whatever
// the new store does to the files.
func TestReopenWhileTheFailedStoreIsViewed(t *testing.T) {
	dir := t.TempDir()
	disk := errorfs.New(vfs.OS())
	options := mmapkv.Options{SegmentSize: 8 << 10, Sync: fsync.Always}
	inject.Into(&options, &inject.Seams{FS: disk})
	failed, err := mmapkv.Open(dir, &options)
	if err != nil {
		t.Fatal(err)
	}
	old := &limitedStore{Store: failed, t: t, versions: map[string]int{}}
	for i := range 60 {
		old.put(i)
	}
	disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.Datasync), Err: syscall.EIO, Forever: true}) // which sync comes first is undefined
	if err := failed.Put([]byte("doubtful"), nil); !errors.Is(err, mmapkv.ErrFailed) {
		t.Fatalf("Put when the sync fails: %v", err)
	}
	disk.Heal()

	var readers sync.WaitGroup
	done := make(chan bool)
	for i := range 3 { // more readers of the old store, in other segments
		key := fmt.Sprint("key ", 20*i)
		inside := make(chan bool)
		readers.Go(func() {
			err := failed.View([]byte(key), func(value []byte) error {
				close(inside)
				<-done
				if string(value) != string(limitedValue(key, 1)) {
					t.Errorf("the value of %s is now %.40q", key, value)
				}
				return nil
			})
			if err != nil {
				t.Errorf("View(%s): %v", key, err)
			}
		})
		<-inside
	}
	err = failed.View([]byte("key 1"), func(value []byte) error {
		if _, err := mmapkv.Open(dir, &options); !errors.Is(err, mmapkv.ErrLocked) {
			t.Errorf("Open beside the failed store: %v", err)
		}
		if err := failed.Close(); !errors.Is(err, mmapkv.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("Close: %v", err)
		}
		if _, err := failed.Get([]byte("key 1")); !errors.Is(err, mmapkv.ErrClosed) {
			t.Errorf("Get from the closed store: %v", err)
		}
		if err := failed.Put([]byte("late"), nil); !errors.Is(err, mmapkv.ErrClosed) {
			t.Errorf("Put to the closed store: %v", err)
		}
		old.reopen(dir, &options)
		if string(value) != string(limitedValue("key 1", 1)) {
			t.Errorf("the old value is now %.40q", value)
		}
		return nil
	})
	if err != nil {
		t.Errorf("View: %v", err)
	}
	close(done)
	readers.Wait()
	if _, err := mmapkv.Open(dir, &options); !errors.Is(err, mmapkv.ErrLocked) {
		t.Errorf("Open beside the new store, with the old one gone: %v", err)
	}
	old.check("the views have ended")
	if err := old.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// reopen opens the directory and replaces every old file.
func (s *limitedStore) reopen(dir string, options *mmapkv.Options) {
	s.t.Helper()
	var err error
	if s.Store, err = mmapkv.Open(dir, options); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Get([]byte("doubtful")); err != nil && !errors.Is(err, mmapkv.ErrNotFound) {
		s.t.Errorf("Get of the write in doubt: %v", err)
	}
	s.check("reopened")
	for range 2 {
		for i := range 60 {
			s.put(i)
		}
		if err := s.Compact(context.Background()); err != nil {
			s.t.Errorf("Compact: %v", err)
		}
	}
	s.check("compacted")
}
