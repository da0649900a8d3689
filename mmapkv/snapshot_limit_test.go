package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
)

// told are the events and messages of snapshots.
type told struct {
	mu       sync.Mutex
	events   []SnapshotOld
	messages []string
}

func (l *told) event(e SnapshotOld) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *told) Enabled(context.Context, slog.Level) bool { return true }
func (l *told) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(r.Message, "Snapshot") {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		l.messages = append(l.messages, text)
	}
	return nil
}
func (l *told) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *told) WithGroup(string) slog.Handler      { return l }

// wait waits for so many events and messages, and returns them.
func (l *told) wait(t *testing.T, events, messages int) ([]SnapshotOld, []string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d events and %d messages", events, messages), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.events) >= events && len(l.messages) >= messages
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) != events || len(l.messages) != messages {
		t.Fatalf("events %+v, messages %q; want %d and %d", l.events, l.messages, events, messages)
	}
	return l.events, l.messages
}

// here returns the file and line of its caller, some lines on.
func here(on int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", file, line+on)
}

// TestSnapshotLimit: beyond the limit the oldest snapshots end, and no other ones. Their reads, scans
// and iterators say so, and their files go.
func TestSnapshotLimit(t *testing.T) {
	l, c := new(told), new(clock)
	o := byHand()
	o.SnapshotLimit, o.Logger, o.Events.SnapshotOld = 20_000, slog.New(l), l.event
	inject.Into(o, &inject.Seams{Every: c.every})
	s := open(t, t.TempDir(), o)
	const keys = 100
	value := func(round int) string { return fmt.Sprintf("%02d%s", round, strings.Repeat("v", 48)) }
	var open []*Snapshot
	var its []*Iterator
	limits := 0
	for round := range 12 {
		for i := range keys {
			put(t, s, fmt.Sprint("key ", i), value(round))
		}
		made := here(1)
		n, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		it, err := n.Iterator(ScanOptions{})
		if err != nil || !it.Next() {
			t.Fatal(err)
		}
		open, its = append(open, n), append(its, it)
		if stats := s.Stats().Snapshots; stats[len(stats)-1].Made != made || stats[len(stats)-1].Seq != n.Seq() {
			t.Fatalf("%+v; want one made at %s", stats, made)
		}
		compactAll(t, s)
		deadline := time.Now().Add(20 * time.Second) // files are let go of in the background
		for s.Stats().HeldBytes > o.SnapshotLimit && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		if held := s.Stats().HeldBytes; held > o.SnapshotLimit {
			t.Fatalf("%d bytes are held", held)
		}
		left := s.Stats().Snapshots
		ended := len(open) - len(left)
		for i, n := range open {
			key := fmt.Sprint("key ", (7*round+i)%keys)
			if i >= ended {
				wantThen(t, n, key, value(i))
				continue
			}
			for what, err := range readsOf(n, []byte(key)) {
				if !errors.Is(err, ErrSnapshotTooOld) {
					t.Fatalf("%s of a snapshot beyond the limit: %v", what, err)
				}
			}
			if its[i].Next() || !errors.Is(its[i].Err(), ErrSnapshotTooOld) {
				t.Fatalf("an iterator of a snapshot beyond the limit: %v", its[i].Err())
			}
		}
		limits = max(limits, ended)
	}
	if limits == 0 || limits == len(open) {
		t.Fatalf("%d of %d snapshots ended", limits, len(open))
	}
	events, _ := l.wait(t, limits, limits)
	for i, e := range events {
		if !e.Ended || e.Seq != open[i].Seq() || e.HeldBytes == 0 {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	// The watch ends them as well, if others compact.
	last := open[len(open)-1]
	s.options.SnapshotLimit = 1
	for i := range keys {
		put(t, s, fmt.Sprint("key ", i), "last")
	}
	if err := s.compactor.All(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantThen(t, last, "key 1", value(len(open)-1))
	c.second()
	waitFor(t, "the watch", func() bool { return len(s.Stats().Snapshots) == 0 })
	if _, err := last.Get([]byte("key 1")); !errors.Is(err, ErrSnapshotTooOld) {
		t.Error(err)
	}
	for _, n := range open {
		if n.Close() != nil {
			t.Error("Close of an ended snapshot")
		}
	}
	wantNothingHeld(t, s)
}

// A limit ends no snapshot that keeps nothing, and a read in flight completes.
func TestSnapshotLimitWaitsForNoRead(t *testing.T) {
	o := byHand()
	o.SnapshotLimit = 1
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 100, 50)
	n := snapshot(t, s)
	lookAtSnapshots(s)
	key, value := numbered(7, 50)
	wantThen(t, n, string(key), string(value))
	fill(t, s, 0, 100, 51)
	err := n.View(key, func(shown []byte) error {
		compactAll(t, s) // ends the snapshot
		if !errors.Is(n.hold.err(), ErrSnapshotTooOld) || string(shown) != string(value) {
			return fmt.Errorf("%w, the value is %.20q", n.hold.err(), shown)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNothingHeld(t, s)
}

// A file that several snapshots keep counts once, also if their sets of files are different ones.
func TestSnapshotLimitCountsFilesOnce(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 200, 50)
	first := snapshot(t, s)
	fill(t, s, 200, 300, 50) // in other files
	second := snapshot(t, s)
	fill(t, s, 0, 300, 51)
	compactAll(t, s)
	stats := s.Stats()
	if stats.Snapshots[0].HeldBytes == 0 || stats.HeldBytes < stats.Snapshots[1].HeldBytes {
		t.Fatalf("%d bytes are held: %+v", stats.HeldBytes, stats.Snapshots)
	}
	s.options.SnapshotLimit = stats.Snapshots[1].HeldBytes // of all files of the first as well
	lookAtSnapshots(s)
	for i, n := range []*Snapshot{first, second} {
		if err := n.hold.err(); err != nil {
			t.Errorf("snapshot %d has ended: %v", i, err)
		}
	}
	s.options.SnapshotLimit--
	lookAtSnapshots(s)
	if len(s.Stats().Snapshots) != 0 {
		t.Errorf("beyond the limit are %+v", s.Stats().Snapshots)
	}
	wantNothingHeld(t, s)
}

// TestForgottenSnapshot: a snapshot that nobody closes keeps its files until the garbage collector
// finds it. Then the Logger hears where it was made. One that is in use, or has an iterator in use, is
// not forgotten.
func TestForgottenSnapshot(t *testing.T) {
	l := new(told)
	o := byHand()
	o.Logger = slog.New(l)
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 300, 50)
	made := here(1)
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		closed, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
	}
	fill(t, s, 0, 300, 51)
	compactAll(t, s)
	if s.Stats().HeldBytes == 0 {
		t.Error("nothing is held")
	}
	it, err := n.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = n.Scan(ScanOptions{Prefix: []byte("key-00000")}, func([]byte, []byte) error { runtime.GC(); return nil })
	if err != nil {
		t.Error(err)
	}
	key, _ := numbered(1, 0)
	n = nil
	for range 3 {
		runtime.GC()
		if !it.Next() {
			t.Fatal(it.Err())
		}
		if err := it.of.View(key, func([]byte) error { runtime.GC(); return nil }); err != nil {
			t.Error(err)
		}
	}
	l.wait(t, 0, 0)
	runtime.KeepAlive(it) // and not any longer
	waitFor(t, "the forgotten Snapshot to be found", func() bool {
		runtime.GC()
		return len(s.Stats().Snapshots) == 0
	})
	_, messages := l.wait(t, 0, 1)
	if !strings.Contains(messages[0], "never closed") || !strings.Contains(messages[0], made) {
		t.Errorf("the message is %q; it was made at %s", messages[0], made)
	}
	wantNothingHeld(t, s)
}

// TestOldSnapshotIsReported: a snapshot that has been open for long is reported once, with the place
// where it was made.
func TestOldSnapshotIsReported(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	l := new(told)
	o := byHand()
	o.Logger, o.Events.SnapshotOld, o.Events.SnapshotAge = slog.New(l), l.event, time.Minute
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	s := open(t, t.TempDir(), o)
	it := iterator(t, s, ScanOptions{}) // is none
	made := here(1)
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	now = now.Add(50 * time.Second)
	young := snapshot(t, s)
	short := snapshot(t, s)
	for range 3 {
		lookAtSnapshots(s)
	}
	short.Close()
	l.wait(t, 0, 0)
	now = now.Add(10 * time.Second)
	for range 3 {
		lookAtSnapshots(s)
	}
	events, messages := l.wait(t, 1, 1)
	if e := events[0]; e.Made != made || e.Age != time.Minute || e.Seq != n.Seq() || e.Ended || !strings.Contains(messages[0], made) {
		t.Errorf("%+v, %q; it was made at %s", e, messages[0], made)
	}
	now = now.Add(time.Hour)
	if _, err := s.stepWatch(); err != nil {
		t.Fatal(err)
	}
	l.wait(t, 2, 2)
	stats := s.Stats().Snapshots
	if len(stats) != 2 || stats[0].Age != time.Hour+time.Minute || stats[1].Age != time.Hour+10*time.Second || filepath.Base(strings.Split(stats[0].Made, ":")[0]) != "snapshot_limit_test.go" {
		t.Errorf("%+v", stats)
	}
	young.Close()
	it.Close()
	if left := s.Stats().Snapshots; len(left) != 1 {
		t.Errorf("%+v", left)
	}
}

// TestSnapshotsLeakNothing makes and closes a million snapshots, many of them open at once, and closed in
// any order. They leave no memory and no files behind.
func TestSnapshotsLeakNothing(t *testing.T) {
	count, random := 1_000_000, rand.New(rand.NewPCG(3, 4))
	if testing.Short() {
		count = 50_000
	}
	s := open(t, t.TempDir(), tiny())
	fill(t, s, 0, 50, 50)
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var open []*Snapshot
	var before uint64
	for i := range count {
		n, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			fill(t, s, i/1000%50, 50, 50+i/1000%5)
		}
		if open = append(open, n); len(open) > 100 {
			last := len(open) - 1
			at := random.IntN(len(open))
			open[at], open[last] = open[last], open[at]
			open[last].Close()
			open = open[:last]
		}
		if i == count/10 {
			before = memory()
		}
	}
	if after := memory(); after > before+1<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
	if n := len(s.Stats().Snapshots); n != len(open) {
		t.Errorf("%d snapshots are listed, and %d are open", n, len(open))
	}
	for _, n := range open {
		n.Close()
	}
	if s.holds.oldest != nil || s.holds.newest != nil {
		t.Error("the list is not empty")
	}
	wantNothingHeld(t, s)
}
