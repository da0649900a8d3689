package mmapkv

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// damageSeen collects what Events.CorruptionFound receives.
type damageSeen struct {
	mu   sync.Mutex
	list []CorruptError
}

func (d *damageSeen) add(c CorruptError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, c)
}

func (d *damageSeen) get() []CorruptError {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// scrubSteps opens a store whose scrub the test runs step by step.
func scrubSteps(t testing.TB, dir string, seen *damageSeen) (s *Store, pass func() (steps int)) {
	t.Helper()
	o := &Options{SegmentSize: 32 << 10, ScrubBytesPerSecond: 1, Events: Events{CorruptionFound: seen.add}}
	var scrub inject.Step
	inject.Into(o, &inject.Seams{Manual: true, OnOpen: func(steps []inject.Step) { scrub = steps[len(steps)-1] }})
	s = open(t, dir, o)
	if scrub.Name != "scrub" {
		t.Fatalf("the last step is %q", scrub.Name)
	}
	return s, func() (steps int) {
		for {
			did, err := scrub.Run()
			if err != nil {
				t.Fatal(err)
			}
			if !did {
				return steps
			}
			steps++
		}
	}
}

func TestScrubFindsDamage(t *testing.T) {
	dir := t.TempDir()
	var seen damageSeen
	s, pass := scrubSteps(t, dir, &seen)
	fill(t, s, 0, 2000, 100)
	for did := true; did; {
		did, _ = s.log.StepSeal()
	}
	sealed := 0
	for _, one := range s.Stats().Segments {
		if one.Sealed {
			sealed++
		}
	}
	if n := pass(); n != sealed || n < 5 {
		t.Errorf("a pass has %d steps, with %d sealed segments", n, sealed)
	}
	if got := s.Stats().Scrub; got.Passes != 1 || got.Damages != 0 || got.Bytes < 150_000 || got.Bytes > 300_000 {
		t.Errorf("%+v", got)
	}

	list := manifestOf(t, dir).Segments
	range1 := entriesOf(t, dir, list[1])[3]
	value2 := entriesOf(t, dir, list[2])[4]
	flipAt(t, dir, segment.FileName(list[1].ID), range1.Offset+9)
	flipAt(t, dir, segment.FileName(list[2].ID), value2.Offset+value2.Size-20)
	for range 2 {
		pass()
	}
	want := []CorruptError{
		{File: segment.FileName(list[1].ID), Offset: range1.Offset, Reason: "no valid record is here"},
		{File: segment.FileName(list[2].ID), Offset: value2.Offset, Reason: failure.BadValue},
	}
	waitFor(t, "events, which come from a goroutine of their own", func() bool { return len(seen.get()) >= len(want) })
	if got := seen.get(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told of %v, want %v", got, want)
	}
	stats := s.Stats()
	if stats.Scrub.Passes != 3 || stats.Scrub.Damages != 2 {
		t.Errorf("%+v", stats.Scrub)
	}
	for i, one := range stats.Segments {
		if one.Damaged != (i == 1) {
			t.Errorf("segment %d: damaged is %v", i, one.Damaged)
		}
	}
	closeStore(t, s)
}

// TestScrubGoesOnBehindAnError: a failed read is logged, but it does not count as
// damage.
func TestScrubGoesOnBehindAnError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 32 << 10})
	fill(t, s, 0, 1000, 100)
	closeStore(t, s)
	bad := segment.FileName(manifestOf(t, dir).Segments[1].ID)
	disk := errorfs.New(vfs.OS())
	var log lockedBuffer
	o := &Options{ScrubBytesPerSecond: 1 << 40, ReadOnly: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	inject.Into(o, &inject.Seams{FS: disk})
	disk.Fail(errorfs.Rule{Forever: true, Err: syscall.ENOMEM, Match: func(op errorfs.Op) bool {
		return op.Kind == errorfs.Read && filepath.Base(op.Name) == bad && op.Length > 1000
	}})
	s = open(t, dir, o)
	waitFor(t, "a pass of the scrub", func() bool { return s.Stats().Scrub.Passes > 0 })
	if got := s.Stats().Scrub; got.Passes != 1 || got.Damages != 0 || got.Bytes < 50_000 {
		t.Errorf("%+v", got)
	}
	closeStore(t, s)
	waitFor(t, "the last message", func() bool { return isIdle(s.events) })
	if !strings.Contains(log.String(), bad) {
		t.Errorf("the log says %s", log.String())
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

// TestScrubIsDeterministic: two runs of one script report the same.
func TestScrubIsDeterministic(t *testing.T) {
	var reports []string
	for range 2 {
		var seen damageSeen
		s, pass := scrubSteps(t, t.TempDir(), &seen)
		report := ""
		for i := range 5 {
			fill(t, s, 0, 200*i, 100)
			_, err := s.log.StepSeal()
			report += fmt.Sprintln(pass(), s.Stats().Scrub, err)
		}
		closeStore(t, s)
		reports = append(reports, report)
	}
	if reports[0] != reports[1] {
		t.Errorf("%s and %s", reports[0], reports[1])
	}
}

// TestScrubBesideAWriter: scrub takes no compacted or rotated file for damaged.
func TestScrubBesideAWriter(t *testing.T) {
	var seen damageSeen
	s := open(t, quickDir(t), &Options{SegmentSize: minSegmentSize, ScrubBytesPerSecond: 1 << 40,
		Compaction: Compaction{GarbageRatio: 0.3}, Events: Events{CorruptionFound: seen.add}})
	until := time.Now().Add(500 * time.Millisecond)
	for n := 0; time.Now().Before(until); n++ {
		key, value := numbered(n%200, 20+n%700)
		if err := s.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats().Scrub; got.Damages != 0 || len(seen.get()) > 0 {
		t.Errorf("%+v, %v", got, seen.get())
	}
	closeStore(t, s)
}

func TestScrubKeepsItsRateAndStops(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 64 << 10})
	fill(t, s, 0, 5000, 100)
	closeStore(t, s)
	for _, c := range []struct {
		rate, most, least int64 // most is for a quarter of a second
	}{{1, 0, 0}, {1_000_000, 350_000, 1}, {1 << 40, 1 << 30, 500_000}} {
		began := time.Now()
		s := open(t, dir, &Options{ScrubBytesPerSecond: c.rate, ReadOnly: c.rate == 1<<40, Compaction: Compaction{Disabled: true}})
		time.Sleep(250 * time.Millisecond)
		waitFor(t, "the scrub to read", func() bool { return s.Stats().Scrub.Bytes >= c.least })
		read, took := s.Stats().Scrub.Bytes, time.Since(began)
		if most := c.most * int64(took/(250*time.Millisecond)+1); read > most {
			t.Errorf("at %d bytes a second it has read %d in %v", c.rate, read, took)
		}
		began = time.Now()
		closeStore(t, s)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("Close took %v", took)
		}
	}
	if _, err := Open(dir, &Options{ScrubBytesPerSecond: -1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a negative rate: %v", err)
	}
}

// A pass reads only the files sealed when it began, however fast files are sealed.
func TestScrubPassEndsWhereItBeganToEnd(t *testing.T) {
	s, _ := scrubSteps(t, t.TempDir(), &damageSeen{})
	fill(t, s, 0, 400, 1000)
	seal := func() {
		for {
			if did, err := s.log.StepSeal(); err != nil || !did {
				return
			}
		}
	}
	seal()
	sealed := 0
	for _, one := range s.Stats().Segments {
		if one.Sealed {
			sealed++
		}
	}
	for steps := 0; ; steps++ {
		did, err := s.scrubber.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !did {
			if steps != sealed {
				t.Errorf("a pass reads %d files, where %d were sealed when it began", steps, sealed)
			}
			break
		}
		if steps > 2*sealed {
			t.Fatalf("a pass over %d files has read %d and goes on", sealed, steps)
		}
		fill(t, s, 1000*(steps+1), 1000*(steps+1)+50, 1000) // more than a segment
		seal()
	}
	if passes := s.Stats().Scrub.Passes; passes != 1 {
		t.Errorf("%d passes", passes)
	}
}
