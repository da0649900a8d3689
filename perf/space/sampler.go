package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// use is the space that a store takes at one moment, and its live bytes.
type use struct{ used, live int64 }

// ratio is the used space over the live bytes.
func (u use) ratio() float64 { return float64(u.used) / float64(u.live) }

// beyond is the space used beyond two segments over the live bytes; 0 as long as two
// segments are enough.
func (u use) beyond(segment int64) float64 {
	over := float64(u.used - 2*segment)
	switch {
	case over <= 0:
		return 0
	case u.live == 0:
		return math.Inf(1)
	}
	return over / float64(u.live)
}

// sampler takes samples of a store in the background, and keeps the worst.
type sampler struct {
	store   *mmapkv.Store
	dir     string
	segment int64 // bytes
	end     chan struct{}
	ended   chan struct{}
	once    sync.Once

	mu       sync.Mutex      // guards the rest
	known    map[string]bool // segments that were listed at some time
	worst    use             // since the last phase ended
	heapPeak rig.Bytes       // maximum of the memory other than pages of files
	err      error
}

func startSampler(store *mmapkv.Store, dir string, segment int64) *sampler {
	s := &sampler{store: store, dir: dir, segment: segment, end: make(chan struct{}), ended: make(chan struct{}), known: map[string]bool{}}
	go s.run()
	return s
}

func (s *sampler) run() {
	defer close(s.ended)
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.end:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		_, _ = s.sample() // it is kept in s.err
		s.mu.Unlock()
	}
}

// stop ends the sampling. It returns the error of a sample that failed.
func (s *sampler) stop() error {
	s.once.Do(func() { close(s.end) })
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// endPhase returns the worst sample since the last call, and a new one.
func (s *sampler) endPhase() (worst, last use, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, _ = s.sample()
	worst, s.worst = s.worst, use{}
	return worst, last, s.err
}

// anonymous is the maximum over all samples of the memory other than pages of files.
func (s *sampler) anonymous() rig.Bytes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heapPeak
}

// awaitRest waits until the store takes at most limitSettled and nothing has changed
// for restFor, but no longer than timeout.
func (s *sampler) awaitRest(ctx context.Context, timeout time.Duration) error {
	var since time.Time
	var was use
	for began := time.Now(); time.Since(began) < timeout; {
		s.mu.Lock()
		now, err := s.sample()
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if now != was {
			was, since = now, time.Now()
		}
		if now.ratio() <= limitSettled && time.Since(since) > restFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sampleEvery):
		}
	}
	return nil
}

// sample takes one sample. The caller holds s.mu.
func (s *sampler) sample() (use, error) {
	s.heapPeak = max(s.heapPeak, rig.ReadMemory().Anonymous)
	now, err := s.look()
	if err != nil {
		s.err = err
		return use{}, err
	}
	if s.worst == (use{}) || now.beyond(s.segment) > s.worst.beyond(s.segment) {
		s.worst = now
	}
	return now, nil
}

// look measures the space that the store takes. It reads the directory and the store's
// statistics one after the other. A file unlinked in between would be counted twice or
// not at all, so look starts again if anything changed. A segment counts as held just
// before it is unlinked, and may then be counted twice; if this happens in every
// attempt, look subtracts such segments.
func (s *sampler) look() (use, error) {
	const looks = 10
	for n := 1; ; n++ {
		before := s.store.Stats()
		files, err := rig.Allocated(s.dir)
		if err != nil {
			return use{}, err
		}
		after := s.store.Stats()
		listed := s.learn(before, after)
		now := use{used: after.HeldBytes, live: after.LiveBytes}
		var leaving int64
		for name, bytes := range files {
			now.used += bytes
			if s.known[name] && !listed[name] {
				leaving += bytes
			}
		}
		same := before.HeldBytes == after.HeldBytes && slices.EqualFunc(before.Segments, after.Segments, sameFile)
		if same && leaving == 0 {
			return now, nil
		}
		if n == looks {
			now.used -= min(leaving, after.HeldBytes)
			return now, nil
		}
		time.Sleep(time.Millisecond)
	}
}

// learn remembers the segments of both, and returns those of after.
func (s *sampler) learn(before, after mmapkv.Stats) (listed map[string]bool) {
	for _, one := range before.Segments {
		s.known[one.File] = true
	}
	listed = map[string]bool{}
	for _, one := range after.Segments {
		s.known[one.File], listed[one.File] = true, true
	}
	return listed
}

func sameFile(a, b mmapkv.SegmentStats) bool { return a.File == b.File }
