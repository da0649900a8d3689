package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Close finishes a write that waits for compaction to make room.
func TestCloseFinishesWritesThatWaitForRoom(t *testing.T) {
	dir := t.TempDir()
	o := tiny()
	o.Compaction.Disabled = true // only Close lets the writers go
	s := open(t, dir, o)
	s.space.HoldBack()
	const writers = 64
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			if err := s.Put(fmt.Append(nil, w), fmt.Append(nil, w)); err != nil {
				t.Errorf("a write that was waiting: %v", err)
			}
		})
	}
	for goroutinesIn("space.(*Space).AwaitRoom(") < writers {
		time.Sleep(time.Millisecond)
	}
	closeStore(t, s)
	group.Wait()
	s = open(t, dir, nil)
	for w := range writers {
		wantValue(t, s, fmt.Sprint(w), fmt.Sprint(w))
	}
}

// goroutinesIn counts the goroutines that are inside a function.
func goroutinesIn(function string) int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte(function))
}

// Close waits for a long value that is being written.
func TestCloseFinishesALongWrite(t *testing.T) {
	dir := t.TempDir()
	began, goOn := make(chan struct{}), make(chan struct{})
	o := tiny()
	inject.Into(o, &inject.Seams{FS: &movingFS{FS: vfs.OS(), long: func() { began <- struct{}{}; <-goOn }}})
	s := open(t, dir, o)
	wrote, closed := make(chan error, 1), make(chan error, 1)
	go func() { wrote <- s.Put([]byte("long"), make([]byte, 5000)) }()
	<-began
	go func() { closed <- s.Close() }()
	for !s.closed.Load() {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-closed:
		close(goOn)
		t.Fatalf("Close returned (%v) before the write did (%v)", err, <-wrote)
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	if err := <-wrote; err != nil {
		t.Errorf("Put: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	wantValue(t, open(t, dir, nil), "long", string(make([]byte, 5000)))
}

// Calls that start after Close do not keep Close waiting.
func TestCloseDoesNotWaitForThoseWhoComeLater(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var end atomic.Bool
	var group sync.WaitGroup
	for range 256 {
		group.Go(func() {
			for !end.Load() {
				if err := s.Put([]byte("k"), []byte("v")); err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Minute):
		t.Error("Close does not return")
	}
	end.Store(true)
	group.Wait()
}

// A write that begins before Close succeeds; one that begins later returns ErrClosed.
func TestCloseAmongWriters(t *testing.T) {
	for round := range 100 {
		dir := t.TempDir()
		s := open(t, dir, tiny())
		var group sync.WaitGroup
		start := make(chan struct{})
		last := make([]int, 4)
		for w := range last {
			group.Go(func() {
				<-start
				for i := 1; ; i++ {
					size := 10
					if i%7 == 3 {
						size = 6000 // gets a file of its own
					}
					began := s.closed.Load()
					err := s.Put(fmt.Append(nil, w), fmt.Appendf(make([]byte, size), "%d", i))
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || began {
						t.Errorf("Put behind Close (%v): %v", began, err)
						return
					}
					last[w] = i
				}
			})
		}
		close(start)
		time.Sleep(time.Duration(round) * 20 * time.Microsecond)
		closeStore(t, s)
		group.Wait()
		s = open(t, dir, tiny())
		for w, i := range last {
			value, err := s.Get(fmt.Append(nil, w))
			if i == 0 && errors.Is(err, ErrNotFound) {
				continue
			}
			if got := string(trimZeros(value)); err != nil || got != fmt.Sprint(i) {
				t.Errorf("round %d: writer %d was told of %d, and %q is there (%v)", round, w, i, got, err)
			}
		}
		closeStore(t, s)
	}
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// A ratio too large for an integer means no bound, not a negative one.
func TestNoBoundOnSpace(t *testing.T) {
	for _, ratio := range []float64{math.Inf(1), 1e300} {
		o := &Options{SegmentSize: 64 << 10, Sync: fsync.Never}
		o.Compaction.MaxSpaceRatio = ratio
		s := open(t, t.TempDir(), o)
		fill(t, s, 0, 5000, 500) // no garbage
		if wait := s.Stats().WriteStall; wait > 0 || s.space.Pressed() {
			t.Errorf("MaxSpaceRatio %v: writers waited %v", ratio, wait)
		}
	}
}

// A stray file with the highest possible number does not use up the numbers.
func TestStrayNameDoesNotUseUpIDs(t *testing.T) {
	for _, stray := range []segment.ID{math.MaxUint64, math.MaxUint64 - 2, 1 << 40} {
		dir := t.TempDir()
		s := open(t, dir, byHand())
		put(t, s, "a", "1")
		closeStore(t, s)
		if err := os.WriteFile(filepath.Join(dir, segment.FileName(stray)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s = open(t, dir, byHand())
			fill(t, s, 0, 200, 100)
			closeStore(t, s)
		}
		s = open(t, dir, byHand())
		wantFilled(t, s, 0, 200, 100)
		if next := s.catalog.Manifest.Current.NextID; next > 1<<20 {
			t.Errorf("the next file is %d, because of a stray one named %d", next, stray)
		}
		if names := segmentFiles(t, dir); len(names) != len(s.Stats().Segments) {
			t.Errorf("%d files for %d segments", len(names), len(s.Stats().Segments))
		}
	}
}

// A closed store returns ErrClosed, whatever else is wrong with the call.
func TestBadTTLAfterClose(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	closeStore(t, s)
	if err := s.PutWithTTL([]byte("k"), nil, -1); !errors.Is(err, ErrClosed) {
		t.Errorf("PutWithTTL: %v", err)
	}
}
