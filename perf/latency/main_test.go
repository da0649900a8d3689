package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func TestLatencyReportsEveryPhase(t *testing.T) {
	for name, more := range map[string][]string{"loop": nil, "background": {"-background", "-rounds", "2"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arguments := append([]string{"-keys", "2000", "-rate", "5000", "-duration", "100ms", "-segment", "64KiB", "-dir", t.TempDir()}, more...)
			var out strings.Builder
			if err := run(t.Context(), arguments, &out); err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
			for _, part := range []string{"idle, no reads", "writer, no reads", "scans, no reads", "compaction, no reads", "p99.99", "beside scans / beside the writer alone", "beside compaction / beside the writer alone"} {
				if !strings.Contains(out.String(), part) {
					t.Errorf("the report lacks %q:\n%s", part, &out)
				}
			}
		})
	}
}

// A delayed read delays those after it, and each of them counts.
func TestLatencyCountsFromTheIntendedStart(t *testing.T) {
	c := config{data: rig.Data{Keys: 10, ValueSize: 16}, rate: 1000, duration: 100 * time.Millisecond}
	store, err := mmapkv.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := c.data.Load(t.Context(), store, 1); err != nil {
		t.Fatal(err)
	}
	r := newResult()
	if err := c.keepPace(delayed{t.Context(), new(int)}, store, true, 1, r); err != nil {
		t.Fatal(err)
	}
	if r.latency.TotalCount() != 100 || r.alone.TotalCount() != 100 {
		t.Errorf("%d and %d reads, not 100", r.latency.TotalCount(), r.alone.TotalCount())
	}
	if half := time.Duration(r.latency.ValueAtPercentile(60)); half < 5*time.Millisecond {
		t.Errorf("50 ms were lost, but six reads of ten took at most %v", half)
	}
}

// delayed is a context whose Err is slow once.
type delayed struct {
	context.Context
	asked *int
}

func (d delayed) Err() error {
	if *d.asked++; *d.asked == 20 {
		time.Sleep(50 * time.Millisecond)
	}
	return d.Context.Err()
}

func TestLatencyRefusesNonsense(t *testing.T) {
	for _, arguments := range [][]string{{"-keys", "0"}, {"-rate", "0"}, {"-duration", "0s"}, {"-rounds", "0"}, {"-limit", "-1"}, {"-scanlimit", "-1"}} {
		if err := run(t.Context(), arguments, new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", arguments)
		}
	}
}
