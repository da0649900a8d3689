package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
)

var silent *slog.Logger

// inBubble runs a test that can wait, with synctest.Wait, until every event is
// delivered. The test fails if a delivering goroutine does not end.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func isIdle(n *notifier) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.delivering && len(n.waiting) == 0
}

// recordAll returns callbacks that add their payloads to a list.
func recordAll(seen *[]any) Events {
	return Events{
		CompactionStarted: func(e CompactionStarted) { *seen = append(*seen, e) },
		CompactionEnded:   func(e CompactionEnded) { *seen = append(*seen, e) },
		Rotated:           func(e Rotated) { *seen = append(*seen, e) },
		Recovered:         func(e RecoveryStats) { *seen = append(*seen, e) },
		Loaded:            func(e Loaded) { *seen = append(*seen, e) },
		SlowOperation:     func(e SlowOperation) { *seen = append(*seen, e) },
		CorruptionFound:   func(e CorruptError) { *seen = append(*seen, e) },
		WriteStalled:      func(e WriteStalled) { *seen = append(*seen, e) },
		SpaceLow:          func(e SpaceLow) { *seen = append(*seen, e) },
		SnapshotOld:       func(e SnapshotOld) { *seen = append(*seen, e) },
	}
}

// oneOfEach sends one event of every kind and returns the payloads. It then changes
// what it passed, so the notifier must copy it.
func oneOfEach(n *notifier) []any {
	files := []string{"a", "b"}
	recovery := RecoveryStats{RecordsScanned: 5, Damages: []CorruptError{{File: "a", Offset: 8}}}
	corrupt := CorruptError{File: "a", Offset: 8, Reason: "checksum"}
	n.recovered(recovery)
	loaded := Loaded{Keys: 7, Damages: []CorruptError{{File: "d", Offset: 16}}}
	n.loaded(loaded)
	n.Rotated("c")
	n.CompactionStarted(files, 100)
	n.CompactionEnded(compact.Ended(CompactionEnded{Files: files, BytesIn: 90, BytesOut: 40, Duration: time.Second, Err: errFake}))
	n.slow("Get", time.Minute)
	n.corruption(&corrupt)
	n.Stalled(time.Hour)
	n.SpaceLow(syscall.ENOSPC)
	n.snapshotOld(SnapshotOld{Ended: true})
	files[0], corrupt.Reason, recovery.Damages[0].File = "spoilt", "spoilt", "spoilt"
	loaded.Damages[0].File = "spoilt"
	return []any{
		RecoveryStats{RecordsScanned: 5, Damages: []CorruptError{{File: "a", Offset: 8}}},
		Loaded{Keys: 7, Damages: []CorruptError{{File: "d", Offset: 16}}},
		Rotated{File: "c"},
		CompactionStarted{Files: []string{"a", "b"}, BytesIn: 100},
		CompactionEnded{Files: []string{"a", "b"}, BytesIn: 90, BytesOut: 40, Duration: time.Second, Err: errFake},
		SlowOperation{Operation: "Get", Duration: time.Minute},
		CorruptError{File: "a", Offset: 8, Reason: "checksum"},
		WriteStalled{Duration: time.Hour},
		SpaceLow{Err: syscall.ENOSPC},
		SnapshotOld{Ended: true},
	}
}

var errFake = errors.New("fake")

func TestEventsArriveInOrderAndUnchanged(t *testing.T) {
	inBubble(t, "all", func(t *testing.T) {
		var seen []any
		n := newNotifier(recordAll(&seen), silent)
		want := oneOfEach(n)
		synctest.Wait()
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("callbacks got\n%+v, want\n%+v", seen, want)
		}
		if !isIdle(n) || n.dropped() != 0 {
			t.Errorf("idle %v, dropped %d", isIdle(n), n.dropped())
		}
	})
}

func TestEventsOfOneCallerStayInOrderAndNeverOverlap(t *testing.T) {
	inBubble(t, "concurrent", func(t *testing.T) {
		const callers, each = 8, 100 // fewer than maxWaitingEvents
		var inside atomic.Int32
		last := map[string]time.Duration{}
		n := newNotifier(Events{SlowThreshold: 1, SlowOperation: func(e SlowOperation) {
			if inside.Add(1) != 1 {
				t.Error("two callbacks at once")
			}
			if e.Duration != last[e.Operation]+1 {
				t.Errorf("caller %s: event %d follows %d", e.Operation, e.Duration, last[e.Operation])
			}
			last[e.Operation] = e.Duration
			inside.Add(-1)
		}}, silent)
		var running sync.WaitGroup
		for i := range callers {
			running.Go(func() {
				for j := range each {
					n.slow(fmt.Sprint(i), time.Duration(j+1))
				}
			})
		}
		running.Wait()
		synctest.Wait()
		for caller, count := range last {
			if count != each {
				t.Errorf("caller %s: the last event is %d, want %d", caller, count, each)
			}
		}
		if len(last) != callers {
			t.Errorf("events of %d callers, want %d", len(last), callers)
		}
	})
}

func TestEventsOldestWaitingAreDroppedAndCounted(t *testing.T) {
	inBubble(t, "slow callback", func(t *testing.T) {
		const surplus = 10
		unblock := make(chan struct{})
		var seen []time.Duration
		n := newNotifier(Events{WriteStalled: func(e WriteStalled) {
			<-unblock
			seen = append(seen, e.Duration)
		}}, silent)
		n.Stalled(0)
		synctest.Wait() // event 0 is in the callback and no longer waits
		for i := range maxWaitingEvents + surplus {
			n.Stalled(time.Duration(i + 1))
		}
		if n.dropped() != surplus {
			t.Errorf("dropped %d, want %d", n.dropped(), surplus)
		}
		close(unblock)
		synctest.Wait()
		want := []time.Duration{0}
		for i := range maxWaitingEvents {
			want = append(want, time.Duration(surplus+i+1))
		}
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("callback got %v, want %v", seen, want)
		}
	})
}

func TestEventsCallbackMayCallBack(t *testing.T) {
	inBubble(t, "notifier", func(t *testing.T) {
		var n *notifier
		var seen []any
		events := recordAll(&seen)
		events.Rotated = func(e Rotated) {
			seen = append(seen, e)
			n.Stalled(1)
			n.corruption(&CorruptError{File: e.File})
			n.SpaceLow(errFake)
			n.SpaceBack()
			if n.dropped() != 0 {
				t.Errorf("dropped %d", n.dropped())
			}
		}
		n = newNotifier(events, silent)
		n.Rotated("a")
		synctest.Wait()
		want := []any{Rotated{File: "a"}, WriteStalled{Duration: 1}, CorruptError{File: "a"}, SpaceLow{Err: errFake}}
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("callbacks got %+v, want %+v", seen, want)
		}
	})
}

func TestEventsCallbackMayCloseTheStore(t *testing.T) {
	options := tiny()
	closed := make(chan error, 1)
	opened := make(chan *Store, 1)
	var once sync.Once
	options.Events.Rotated = func(Rotated) {
		once.Do(func() {
			s := <-opened
			s.Stats()
			closed <- s.Close()
		})
	}
	s := open(t, t.TempDir(), options)
	opened <- s
	var err error
	for i := 0; err == nil; i++ {
		err = s.Put(fmt.Append(nil, i), make([]byte, 512))
	}
	if !errors.Is(err, ErrClosed) {
		t.Errorf("Put: %v, want ErrClosed", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close in a callback: %v", err)
	}
}

func TestEventsNobodyWantsCostNothing(t *testing.T) {
	n := newNotifier(Events{}, silent)
	oneOfEach(n)
	if n.waiting != nil || n.delivering {
		t.Error("an event was queued")
	}
	if n.watchesSlow() {
		t.Error("operations are timed")
	}
}

func TestEventsCorruptionIsToldOnceForEachPlace(t *testing.T) {
	inBubble(t, "places", func(t *testing.T) {
		var seen []CorruptError
		n := newNotifier(Events{CorruptionFound: func(e CorruptError) { seen = append(seen, e) }}, silent)
		first, offset, file := CorruptError{File: "a", Offset: 1}, CorruptError{File: "a", Offset: 2}, CorruptError{File: "b", Offset: 1}
		for _, c := range []CorruptError{first, {File: "a", Offset: 1, Reason: "another"}, offset, file, offset, first} {
			n.corruption(&c)
		}
		synctest.Wait()
		if want := []CorruptError{first, offset, file}; !reflect.DeepEqual(seen, want) {
			t.Errorf("told %v, want %v", seen, want)
		}
		for i := range int64(2 * maxToldPlaces) {
			n.corruption(&CorruptError{File: "c", Offset: i})
			synctest.Wait()
		}
		if len(n.told) != maxToldPlaces {
			t.Errorf("%d places are remembered, want %d", len(n.told), maxToldPlaces)
		}
		seen = nil
		n.corruption(&CorruptError{File: "c", Offset: 2*maxToldPlaces - 1})
		n.corruption(&CorruptError{File: "c", Offset: maxToldPlaces})
		n.corruption(&first) // was forgotten
		synctest.Wait()
		if want := []CorruptError{first}; !reflect.DeepEqual(seen, want) {
			t.Errorf("told again %v, want %v", seen, want)
		}
	})
}

func TestEventsSpaceLowIsToldOnceUntilThereIsRoom(t *testing.T) {
	inBubble(t, "space", func(t *testing.T) {
		told := 0
		n := newNotifier(Events{SpaceLow: func(SpaceLow) { told++ }}, silent)
		for _, step := range []struct {
			call func()
			want int
		}{
			{n.SpaceBack, 0},
			{func() { n.SpaceLow(syscall.ENOSPC) }, 1},
			{func() { n.SpaceLow(syscall.ENOSPC) }, 1},
			{n.SpaceBack, 1},
			{func() { n.SpaceLow(syscall.ENOSPC) }, 2},
		} {
			step.call()
			synctest.Wait()
			if told != step.want {
				t.Fatalf("told %d times, want %d", told, step.want)
			}
		}
	})
}

func TestEventsSlowThreshold(t *testing.T) {
	for _, c := range []struct{ option, want time.Duration }{{0, 100 * time.Millisecond}, {time.Second, time.Second}} {
		inBubble(t, c.want.String(), func(t *testing.T) {
			var seen []SlowOperation
			n := newNotifier(Events{SlowThreshold: c.option, SlowOperation: func(e SlowOperation) { seen = append(seen, e) }}, silent)
			if !n.watchesSlow() {
				t.Error("operations are not timed")
			}
			n.slow("Get", c.want-1)
			n.slow("Put", c.want)
			synctest.Wait()
			if want := []SlowOperation{{"Put", c.want}}; !reflect.DeepEqual(seen, want) {
				t.Errorf("told %v, want %v", seen, want)
			}
		})
	}
}

// TestSlowOperationsHaveTheirOwnNames calls every method that is timed.
func TestSlowOperationsHaveTheirOwnNames(t *testing.T) {
	told := make(chan string, 100)
	o := &Options{Events: Events{SlowThreshold: 1, SlowOperation: func(e SlowOperation) { told <- e.Operation }}}
	s := open(t, t.TempDir(), o)
	k, v := []byte("key"), []byte("value")
	var batch Batch
	batch.Put(k, v)
	put(t, s, "key", "value")
	<-told
	n := snapshot(t, s)
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Put", func() error { return s.Put(k, v) }},
		{"PutWithTTL", func() error { return s.PutWithTTL(k, v, time.Hour) }},
		{"Write", func() error { return s.Write(&batch) }},
		{"Sync", s.Sync},
		{"Get", func() error { _, err := s.Get(k); return err }},
		{"AppendGet", func() error { _, err := s.AppendGet(nil, k); return err }},
		{"View", func() error { return s.View(k, func([]byte) error { return nil }) }},
		{"GetMany", func() error { return s.GetMany([][]byte{k}, func(int, []byte, error) error { return nil }) }},
		{"Has", func() error { _, err := s.Has(k); return err }},
		{"TTL", func() error { _, _, err := s.TTL(k); return err }},
		{"Snapshot.Get", func() error { _, err := n.Get(k); return err }},
		{"Snapshot.AppendGet", func() error { _, err := n.AppendGet(nil, k); return err }},
		{"Snapshot.View", func() error { return n.View(k, func([]byte) error { return nil }) }},
		{"Snapshot.GetMany", func() error { return n.GetMany([][]byte{k}, func(int, []byte, error) error { return nil }) }},
		{"Snapshot.Has", func() error { _, err := n.Has(k); return err }},
		{"Snapshot.Size", func() error { _, err := n.Size(k); return err }},
		{"Snapshot.TTL", func() error { _, _, err := n.TTL(k); return err }},
		{"Delete", func() error { return s.Delete(k) }},
	} {
		if err := c.call(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if name := <-told; name != c.name {
			t.Errorf("%s is told as %s", c.name, name)
		}
	}
}

func TestEventsAreLoggedWithoutCallbacks(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		want  []string
	}{
		{slog.LevelDebug, []string{"INFO", "DEBUG", "INFO", "INFO", "WARN", "ERROR", "WARN", "WARN", "WARN"}},
		{slog.LevelWarn, []string{"WARN", "ERROR", "WARN", "WARN", "WARN"}},
		{slog.LevelError, []string{"ERROR"}},
	} {
		inBubble(t, c.level.String(), func(t *testing.T) {
			var output bytes.Buffer
			n := newNotifier(Events{}, slog.New(slog.NewTextHandler(&output, &slog.HandlerOptions{Level: c.level})))
			began := time.Now()
			oneOfEach(n)
			synctest.Wait()
			var levels []string
			for line := range strings.Lines(output.String()) {
				level, _, _ := strings.Cut(line[strings.Index(line, "level=")+len("level="):], " ")
				levels = append(levels, level)
				if !strings.Contains(line, `msg="mmapkv: `) || !strings.HasPrefix(line, "time="+began.Format("2006-01-02T15:04:05")) {
					t.Errorf("message %q", line)
				}
			}
			if !reflect.DeepEqual(levels, c.want) {
				t.Errorf("levels %v, want %v, of\n%s", levels, c.want, output.String())
			}
		})
	}
}

func TestEventsGoOnAfterACallbackEndsItsGoroutine(t *testing.T) {
	inBubble(t, "Goexit", func(t *testing.T) {
		var seen []string
		n := newNotifier(Events{Rotated: func(e Rotated) {
			seen = append(seen, e.File)
			runtime.Goexit()
		}}, silent)
		n.Rotated("a")
		n.Rotated("b")
		synctest.Wait()
		if want := []string{"a", "b"}; !reflect.DeepEqual(seen, want) {
			t.Errorf("callback got %v, want %v", seen, want)
		}
	})
}

func TestEventsPanicOfACallbackIsNotSwallowed(t *testing.T) {
	n := newNotifier(Events{Rotated: func(Rotated) { panic("the user's") }}, silent)
	n.delivering = true // this goroutine delivers
	n.Rotated("a")
	defer func() {
		if got := recover(); got != "the user's" {
			t.Errorf("recovered %v", got)
		}
	}()
	n.deliver()
	t.Error("deliver returned")
}
