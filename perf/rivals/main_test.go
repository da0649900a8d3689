package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func TestMain(m *testing.M) {
	loadIfChild()
	os.Exit(m.Run())
}

func TestRivalsReportsEveryFigure(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	err := run(t.Context(), []string{"-keys", "2000", "-count", "2", "-time", "1ms", "-latency", "20ms", "-rest", "0", "-swath", "500", "-segment", "256KiB", "-dir", dir}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, s := range sections() {
		for _, row := range s.rows {
			line := lineWith(out.String(), "| "+row.figure+" |")
			if got := strings.Count(line, "|"); got != len(rivals)+2 {
				t.Errorf("%q is %q", row.figure, line)
			}
			if missing := strings.Count(line, "–"); missing > 1 {
				t.Errorf("figures are missing: %s", line)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunChoosesWhatIsMeasured(t *testing.T) {
	var out strings.Builder
	arguments := "-run seek,ycsb-e -engines bbolt,map -keys 500 -count 1 -time 1ms -rest 0 -dir " + t.TempDir()
	if err := run(t.Context(), strings.Fields(arguments), &out); err != nil {
		t.Fatal(err)
	}
	for figure, want := range map[string]bool{figureSeek(1): true, figureMix(2) + ", p99": true, figureHeap: true, figurePrefix: false, writing[0].name: false} {
		if got := lineWith(out.String(), "| "+figure+" |") != ""; got != want {
			t.Errorf("%q is in the table: %v\n%s", figure, got, &out)
		}
	}
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

func TestRivalsRefuses(t *testing.T) {
	for _, arguments := range []string{"-keys 0", "-keys 3000000000", "-value 15", "-count 0", "-time 0s", "-latency 0s", "-reads 0", "-puts 2000000000", "-engines mmapkv,oracle", "-engines ,", "-engines map,map", "-run nothing", "-swath 0", "-rest -1s", "more"} {
		if err := run(t.Context(), strings.Fields(arguments), new(strings.Builder)); !errors.Is(err, rig.ErrUsage) {
			t.Errorf("%s: %v", arguments, err)
		}
	}
}

func TestAnEngineThatLosesWhatItPromisedFails(t *testing.T) {
	forgetful := rival{name: "map", open: openMap} // a map that claims to have files
	c := config{steps: stepNames(), swath: 1, duration: 1, latency: 1, readRate: 1, putRate: 1}
	err := (&turn{config: c, rival: forgetful, ctx: t.Context(), data: newData(100, minValueSize), dir: t.TempDir()}).take()
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("an engine that lost everything: %v", err)
	}
}

// An operation that never began counts for as long as it waited.
func TestLatencyCountsFromTheIntendedStart(t *testing.T) {
	const rate, duration = 1000, 20 * time.Millisecond
	calls := 0
	latencies, err := keepPace(rate, duration, func() error {
		calls++
		time.Sleep(duration)
		return nil
	})
	if err != nil || len(latencies) != 20 {
		t.Fatalf("%d latencies, %v", len(latencies), err)
	}
	if calls < 1 || calls > patience { // fewer if a call took longer than it should
		t.Errorf("%d calls, want %d", calls, patience)
	}
	for i, latency := range latencies {
		if minLatency := time.Duration(min(i+1, patience))*duration - time.Duration(i)*time.Second/rate; latency < minLatency {
			t.Errorf("operation %d took %v, want at least %v", i, latency, minLatency)
		}
	}
	boom := errors.New("boom")
	if _, err := keepPace(rate, duration, func() error { return boom }); !errors.Is(err, boom) {
		t.Errorf("an error: %v", err)
	}
}

func TestCellsCompareWithinARound(t *testing.T) {
	r := results{
		"a": {{"x": 1}, {"x": 10}, {"x": 100}},
		"b": {{"x": 2}, {"x": 30}, {"x": 200}},
	}
	for engine, want := range map[string]string{"a": "10.0", "b": "30.0 (×2)", "c": "–"} {
		if got := r.cell(row{"x", number}, engine, "a"); got != want {
			t.Errorf("%s: %s, want %s", engine, got, want)
		}
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for n, want := range map[float64]string{0: "0 ns", 1.234: "1.23 ns", 45.67: "45.7 ns", 999: "999 ns", 1000: "1 µs", 12_345_678: "12.3 ms", 3e9: "3 s", 1234e9: "1234 s"} {
		if got := nanoseconds(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 10_000 {
		for _, n := range []int{i, absent + i} {
			key := string(appendKey(nil, n))
			if len(key) != keySize || seen[key] {
				t.Fatalf("key %d is %q", n, key)
			}
			seen[key] = true
		}
	}
}

// YCSB's generator gives the most popular of a million items 6.5 % of all draws, and
// the second 2^-0.99 of that.
func TestPopularKeysAreAsPopularAsYCSBs(t *testing.T) {
	z := newZipf(1_000_000)
	random := rand.New(rand.NewPCG(1, 1))
	const draws = 1_000_000
	counts := map[int]int{}
	for range draws {
		rank := z.rank(random.Float64())
		if rank < 0 || rank >= z.items {
			t.Fatalf("rank %d", rank)
		}
		counts[rank]++
	}
	for rank, want := range []float64{0.0650, 0.0327} {
		if got := float64(counts[rank]) / draws; got < 0.97*want || got > 1.03*want {
			t.Errorf("rank %d is drawn %v times, want %v", rank, got, want)
		}
	}
	for _, items := range []int{1, 2, 3} {
		small := newZipf(items)
		for range 1000 {
			if rank := small.rank(random.Float64()); rank < 0 || rank >= items {
				t.Fatalf("rank %d of %d", rank, items)
			}
		}
	}
}
