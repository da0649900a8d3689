package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Everything at once beside the workers that load, of a store that was killed with partial hints, and
// Close in the midst of it. Nobody waits for ever, and no answer is wrong.
func TestCloseBesideEverythingThatLoads(t *testing.T) {
	base := &Options{SegmentSize: 1 << 20, Sync: fsync.Every(time.Millisecond), Compaction: Compaction{Disabled: true}}
	inject.Into(base, &inject.Seams{PartStep: 64 << 10})
	const keys = 30_000
	s := open(t, t.TempDir(), base)
	var b Batch
	for round := range 2 {
		for i := range keys {
			if round == 1 && i%3 == 0 {
				continue
			}
			key, value := numbered(i, 60)
			if round == 1 && i%3 == 1 {
				b.Delete(key)
			} else {
				b.Put(key, value)
			}
			if b.Len() == 500 || i == keys-1 {
				if err := s.Write(&b); err != nil {
					t.Fatal(err)
				}
				b.Reset()
			}
		}
	}
	template := killed(t, s, s.path)
	closeStore(t, s)
	for round := range 12 {
		dir := copyDir(t, template)
		if round%3 == 1 {
			remove(t, dir, "*2.hint")
		}
		o := *base
		disk := errorfs.New(vfs.OS())
		inject.Into(&o, &inject.Seams{PartStep: 64 << 10, FS: disk})
		o.ScrubBytesPerSecond = 1 << 30
		ok := func(err error) bool { return err == nil || errors.Is(err, ErrClosed) }
		s := open(t, dir, &o)
		if round%4 == 3 {
			disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Forever: true, Match: func(op errorfs.Op) bool {
				return op.Kind == errorfs.Create || op.Kind == errorfs.Write
			}})
			ok = func(err error) bool { return err == nil || errors.Is(err, ErrClosed) || errors.Is(err, syscall.ENOSPC) }
		}
		var running sync.WaitGroup
		var reads atomic.Int64
		stop := make(chan struct{})
		number := uint64(0)
		loop := func(fn func(rng *rand.Rand) error) {
			number++
			number := number
			running.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), number))
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := fn(rng); errors.Is(err, ErrClosed) {
						return
					} else if !ok(err) {
						t.Error(err)
						return
					}
				}
			})
		}
		loop(func(rng *rand.Rand) error {
			i := rng.IntN(keys)
			key, _ := numbered(i, 0)
			_, err := s.Get(key)
			reads.Add(1)
			if i%3 == 1 && err == nil {
				return fmt.Errorf("%s is there", key)
			}
			if i%3 != 1 && i%97 > 2 && errors.Is(err, ErrNotFound) {
				return fmt.Errorf("%s is not there", key)
			}
			if errors.Is(err, ErrNotFound) {
				err = nil
			}
			return err
		})
		loop(func(rng *rand.Rand) error { // writes
			i := 97*rng.IntN(keys/97) + rng.IntN(3)
			key, value := numbered(i, 60)
			if i%3 == 1 || rng.IntN(2) == 0 {
				return s.Delete(key)
			}
			return s.Put(key, value)
		})
		loop(func(rng *rand.Rand) error { // scans
			from, _ := numbered(rng.IntN(keys), 0)
			n, last := 0, ""
			return s.Scan(ScanOptions{From: from}, func(key, _ []byte) error {
				if string(key) <= last {
					return errors.New("order")
				}
				var i int
				if _, err := fmt.Sscanf(string(key), "key-%d", &i); err != nil || i%3 == 1 {
					return fmt.Errorf("%s is shown, %v", key, err)
				}
				last = string(key)
				if n++; n > 500 {
					return fs.SkipAll
				}
				return nil
			})
		})
		loop(func(*rand.Rand) error { return s.Range(func(_, _ []byte) error { return nil }) })
		loop(func(*rand.Rand) error { s.Len(); s.Stats(); return s.Sync() })
		loop(func(*rand.Rand) error { return s.Compact(context.Background()) })
		loop(func(*rand.Rand) error { _, err := s.Verify(context.Background()); return err })
		loop(func(*rand.Rand) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := s.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return nil
		})
		awaitReads := func(n int64) {
			for from := reads.Load(); reads.Load() < from+n && !t.Failed(); {
				runtime.Gosched()
			}
		}
		if round%2 == 0 {
			awaitReads(int64(200 * round))
		} else if err := s.Ready(t.Context()); !ok(err) {
			t.Error(err)
		}
		if round%2 == 1 && round%4 != 3 {
			awaitReads(1000)
			close(stop)
			running.Wait()
			checkAccounts(t, s)
			s.Close()
		} else {
			s.Close()
			running.Wait()
		}
		disk.Heal()
		s = open(t, dir, base)
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		checkAccounts(t, s)
		for i := range keys {
			key, _ := numbered(i, 0)
			_, err := s.Get(key)
			if i%97 > 2 && (err == nil) != (i%3 != 1) {
				t.Fatalf("round %d: Get(%s): %v", round, key, err)
			}
		}
		closeStore(t, s)
	}
}
