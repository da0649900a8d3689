package workload

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

func engines() []Engine {
	small := mmapkv.Options{SegmentSize: 256 << 10, Sync: fsync.Never}
	durable := small
	durable.Sync = fsync.Always
	return []Engine{MMapKV("mmapkv", small), MMapKV("mmapkv Always", durable), GoMap()}
}

func TestMain(m *testing.M) {
	Child(engines())
	os.Exit(m.Run())
}

func tiny() Config {
	return Config{
		Data:       Data{Keys: 1000, KeySize: 24, ValueSize: 100, Seed: 1},
		Operations: 500, Longest: time.Second, Goroutines: []int{1, 2}, BatchSize: 10,
		Durable: []int{1, 4}, Rate: 5000, Phase: 20 * time.Millisecond, Swath: 1500,
	}
}

func TestEveryWorkloadRuns(t *testing.T) {
	for _, e := range engines() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			err := Run(t.Context(), e, t.TempDir(), tiny(), workloadsOf(t, e), func(r Result) {
				seen[r.Workload]++
				if r.Engine != e.Name || r.Operations == 0 && r.Figures == nil || r.Latency != nil && r.Latency.TotalCount() == 0 {
					t.Errorf("%+v", r)
				}
			})
			if err != nil {
				t.Error(err)
			}
			for name, want := range expected(e) {
				if seen[name] != want {
					t.Errorf("%d results of %s, not %d", seen[name], name, want)
				}
			}
		})
	}
}

// workloadsOf leaves out slow workloads, and those that need files the engine lacks.
func workloadsOf(t *testing.T, e Engine) []Workload {
	t.Helper()
	var names []string
	switch e.Survives {
	case PowerLoss:
		names = []string{"batch", "durable", "put-latency"}
	case Nothing:
		names = []string{"load", "memory", "gc", "view", "get", "has", "zipf", "absent", "keys", "range", "ycsb-*", "put", "batch", "read-latency"}
	}
	workloads, err := Select(names)
	if err != nil {
		t.Fatal(err)
	}
	return workloads
}

// expected is how many results some workloads have.
func expected(e Engine) map[string]int {
	switch e.Survives {
	case PowerLoss:
		return map[string]int{"durable": 2, "put-latency": 1, "batch": 1}
	case Nothing:
		return map[string]int{"view": 2, "gc": 1, "ycsb-d": 1, "range": 1}
	default:
		return map[string]int{
			"load": 1, "view": 2, "many": 2, "disk": 1, "ycsb-f": 1, "read-latency/writer+compaction": 1, "compaction/put beside": 1,
			"open": 1, "open-killed": 1, "cold": 1,
			"scan-beside/alone": 1, "scan-beside/writer+compaction": 1,
			"scan": 1, "scan-keys": 1, "scan-reverse": 1, "iterate": 1, "seek/1": 2, "seek/10": 2, "seek/50": 2, "seek-open/50": 2,
			"ycsb-e": 2, "scan-compacted": 1, "loading/view": 1, "loading/put once loaded": 1,
			"prefix/pairs": 2, "prefix/keys": 2, "swath/first": 1, "swath/again": 1, "swath/later": 1, "order": 1,
		}
	}
}

func TestAReadOfAnothersValueIsAnError(t *testing.T) {
	for _, size := range []int{16, 17, 24, 31, 128, 5000} {
		d := Data{Keys: 10, KeySize: 24, ValueSize: size}
		value := make([]byte, size)
		d.Fill(value, 3, 7)
		if err := errors.Join(d.Verify(3, value), d.VerifyFully(3, value)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if d.Verify(4, value) == nil || d.Verify(3, value[1:]) == nil {
			t.Errorf("%d bytes: another key's value, or a short one, is accepted", size)
		}
		for i := range value {
			// Without noise nothing checks the second word, the version.
			if value[i] ^= 4; d.VerifyFully(3, value) == nil && (size > 16 || i < 8) {
				t.Errorf("%d bytes: byte %d is not checked", size, i)
			}
			value[i] ^= 4
		}
	}
}

func TestKeysTellTheirNumber(t *testing.T) {
	for _, size := range []int{16, 24, 100} {
		d := Data{KeySize: size, Seed: 5}
		key := d.AppendKey([]byte("x"), 1234)[1:]
		if number, err := d.Number(key); err != nil || number != 1234 || len(key) != size {
			t.Errorf("%q: %d, %v", key, number, err)
		}
	}
}

func TestZipfIsSkewed(t *testing.T) {
	const keys = 1000
	counts := make([]int, keys)
	choose := newRanks(keys, 1).from(3)
	for range drawn {
		counts[choose()]++
	}
	// With theta 0.99 the first of 1000 has 1 of 7.7.
	if share := float64(counts[0]) / drawn; share < 0.12 || share > 0.14 {
		t.Errorf("rank 0 is drawn with %.3f", share)
	}
	if counts[0] < counts[1] || counts[1] < counts[10] || counts[10] < counts[500] || counts[keys-1] == 0 {
		t.Errorf("ranks 0, 1, 10, 500 and the last: %d, %d, %d, %d, %d", counts[0], counts[1], counts[10], counts[500], counts[keys-1])
	}
	for _, keys := range []int{1, 2, 3} {
		choose := newRanks(keys, 1).from(0)
		for range 1000 {
			if rank := choose(); rank >= keys {
				t.Fatalf("rank %d of %d", rank, keys)
			}
		}
	}
}

// A delay of one operation delays those after it, and each of them counts.
func TestLatencyCountsFromTheIntendedStart(t *testing.T) {
	n := 0
	r, err := Pace(t.Context(), 1000, 100*time.Millisecond, 1, func(int) func() error {
		return func() error {
			if n++; n == 20 {
				time.Sleep(50 * time.Millisecond)
			}
			return nil
		}
	})
	if err != nil || r.Latency.TotalCount() != 100 {
		t.Fatalf("%d operations, %v", r.Latency.TotalCount(), err)
	}
	if half := time.Duration(r.Latency.ValueAtPercentile(60)); half < 5*time.Millisecond {
		t.Errorf("50 ms were lost, but six of ten operations took at most %v", half)
	}
}

func TestRunEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := tiny()
	c.Operations = endless
	c.Longest = time.Hour
	err := Run(ctx, engines()[0], t.TempDir(), c, all[:5], func(r Result) {
		if r.Workload == "gc" {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSelect(t *testing.T) {
	some, err := Select([]string{"ycsb-*", "view"})
	if err != nil || len(some) != 7 || some[0].Name != "view" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := Select([]string{"nothing"}); err == nil {
		t.Error("an unknown workload is found")
	}
}
