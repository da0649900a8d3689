package mmapkv

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	parkedSegment = flag.Int64("parked.segment", 8<<20, "bytes of a segment beside parked reads")
	parkedBytes   = flag.Int64("parked.bytes", 64<<20, "bytes that are overwritten beside parked reads")
	parkedSpeed   = flag.Bool("parked.speed", false, "measure how fast that is beside parked reads, against none")
	gcPuts        = flag.Int("gc.puts", 20_000, "puts of a kilobyte while no collection is forced")
	gcHeap        = flag.Int("gc.heap", 10, "megabytes of the host's heap meanwhile")
)

const parkedValue = 10 << 10

// parkedKeys is how many keys fill two segments.
func parkedKeys() int { return int(2 * *parkedSegment / parkedValue) }

// park calls work in a callback of a View, inside one of a Range, during a Keys.
func park(t *testing.T, s *Store, work func()) {
	t.Helper()
	key, _ := numbered(0, parkedValue)
	enough := errors.New("enough")
	err := s.View(key, func(value []byte) error {
		seen := slices.Clone(value)
		err := s.Range(func(_, other []byte) error {
			otherSeen := slices.Clone(other)
			for range s.Keys() {
				work()
				break
			}
			return errors.Join(enough, unchanged(other, otherSeen))
		})
		if err != nil && strings.Contains(err.Error(), "any more") {
			return err
		}
		return unchanged(value, seen)
	})
	if err != nil {
		t.Error(err)
	}
}

// overwriteParked overwrites keys with that many bytes, and calls between now and then.
func overwriteParked(t *testing.T, s *Store, bytes int64, between func()) {
	for i := range int(bytes / parkedValue) {
		fill(t, s, i*11%parkedKeys(), i*11%parkedKeys()+1, parkedValue)
		if i%50 == 0 {
			between()
		}
	}
}

// Deleted files that parked reads hold delay no writer: space use and compactions are
// step by step the same as without parked reads. Each read holds only the file that it
// is in: the View one, the Range one, the Keys none.
func TestParkedReadsHoldUpNobody(t *testing.T) {
	type moment struct{ used, live, runs int64 }
	run := func(parked bool) (trace []moment) {
		var steps []inject.Step
		dir := t.TempDir()
		o := &Options{SegmentSize: *parkedSegment, Sync: fsync.Never}
		inject.Into(o, &inject.Seams{Manual: true, OnOpen: func(all []inject.Step) { steps = all[1:] }}) // without the sync
		s := open(t, dir, o)
		fill(t, s, 0, parkedKeys(), parkedValue)
		work := func() {
			overwriteParked(t, s, *parkedBytes, func() {
				for _, step := range steps {
					for did := true; did; {
						var err error
						if did, err = step.Run(); err != nil {
							t.Fatalf("%s: %v", step.Name, err)
						}
					}
				}
				used, live := s.space.Use()
				trace = append(trace, moment{used, live, int64(s.Stats().Compaction.Runs)})
				if _, hard := s.space.Bounds(live); used > hard {
					t.Fatalf("writers would wait: %d bytes used, %d alive", used, live)
				}
			})
			stats := s.Stats()
			onDisk, _ := diskUse(t, dir)
			if bound := 2*stats.LiveBytes + 2**parkedSegment; onDisk > bound {
				t.Errorf("%d bytes on the disk, %d alive", onDisk, stats.LiveBytes)
			}
			held := segment.Held() - int64(len(stats.Segments))
			if most := int64(2); parked && (held == 0 || held > most || stats.HeldBytes > most**parkedSegment) || !parked && held > 0 {
				t.Errorf("parked %v: %d deleted files are held, %d bytes", parked, held, stats.HeldBytes)
			}
		}
		if parked {
			park(t, s, work)
		} else {
			work()
		}
		wantNothingHeld(t, s)
		closeStore(t, s)
		return trace
	}
	without, with := run(false), run(true)
	if !slices.Equal(with, without) || without[len(without)-1].runs == 0 {
		t.Errorf("beside parked reads %v, without %v", with, without)
	}
}

// This measures how fast writers are beside parked reads. It runs only on demand, on an
// otherwise idle machine.
func TestSpeedBesideParkedReads(t *testing.T) {
	if !*parkedSpeed {
		return
	}
	speed := func(parked bool) (puts float64, stall time.Duration) {
		s := open(t, t.TempDir(), &Options{SegmentSize: *parkedSegment, Sync: fsync.Never})
		defer s.Close()
		fill(t, s, 0, parkedKeys(), parkedValue)
		began := time.Now()
		work := func() { overwriteParked(t, s, *parkedBytes, func() {}) }
		if parked {
			park(t, s, work)
		} else {
			work()
		}
		return float64(*parkedBytes/parkedValue) / time.Since(began).Seconds(), s.Stats().WriteStall
	}
	for round := range 4 {
		// They take turns to go first, since the disk is still busy with the writes of
		// the first when the second begins.
		var with, without float64
		var stallWith, stall time.Duration
		for turn := range 2 {
			if (round+turn)%2 == 0 {
				without, stall = speed(false)
			} else {
				with, stallWith = speed(true)
			}
		}
		t.Logf("%.0f puts a second, stalled %v; beside parked reads %.0f, stalled %v: %.2f of it", without, stall, with, stallWith, with/without)
	}
}

// gcVariable makes the test a host that never collects garbage.
const gcVariable = "MMAPKV_TEST_GC"

// A host turns off garbage collection and overwrites, compacts, closes and opens its store
// beside parked reads. The store forces no collection, and descriptors do not run out.
func TestNoCollectionIsForced(t *testing.T) {
	if os.Getenv(gcVariable) == "" {
		child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.timeout", "0",
			fmt.Sprint("-gc.puts=", *gcPuts), fmt.Sprint("-gc.heap=", *gcHeap))
		child.Env = append(os.Environ(), gcVariable+"=1", "GOGC=off")
		out, err := child.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	host := make([][]byte, *gcHeap)
	for i := range host {
		host[i] = make([]byte, 1<<20)
	}
	forced := []metrics.Sample{{Name: "/gc/cycles/forced:gc-cycles"}}
	dir := t.TempDir()
	const rounds = 4
	for range rounds {
		s := open(t, dir, &Options{SegmentSize: 256 << 10})
		fill(t, s, 0, 500, 1000)
		key, _ := numbered(0, 1000)
		err := s.View(key, func([]byte) error {
			for range s.Keys() {
				for i := range *gcPuts / rounds {
					fill(t, s, i%500, i%500+1, 1000)
				}
				break
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if runs := s.Stats().Compaction.Runs; runs == 0 {
			t.Error("there was no compaction")
		}
		closeStore(t, s)
		if held := segment.Held(); held != 0 {
			t.Errorf("%d segments are held behind Close", held)
		}
	}
	metrics.Read(forced)
	if n := forced[0].Value.Uint64(); n != 0 || len(host) != *gcHeap {
		t.Errorf("%d collections were forced beside a heap of %d MB", n, len(host))
	}
}
