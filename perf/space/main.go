// Command space measures how much disk space a store takes while random keys are
// overwritten at full speed, compares it with what the store promises, and measures
// what Compact leaves.
//
//	go run ./perf/space
//	go run ./perf/space -keys 100000 -segment 4MiB -rounds 3 -writers 2
//
// The command loads a store with default compaction, and then overwrites in each
// round as many random keys as the store has. The space it takes is the blocks of its
// files plus what deleted files still hold; both are sampled every 100 ms. At the end
// the store is compacted, closed, and compared with a new store that was loaded with
// the same keys and values.
//
// It fails if one of these limits is broken:
//
//   - In every sample, from the load to the end, the store takes at most 2 times the
//     live bytes plus two segments.
//   - After the writers have stopped, and the background work has finished or -settle
//     has passed, the store takes at most 1.6 times the live bytes.
//   - Compacted and closed, it takes at most 1.05 times the space of the new store.
//   - At rest the index takes at most 1.1 times the memory that it took after the
//     load, and the live heap at most 1.1 times the sum of its size then and 16 MiB.
//
// Use -rate to test for a long time rather than at full speed; an hour of overwriting:
//
//	go run ./perf/space -rate 15000 -rounds 54
//
// GOGC and GOMEMLIMIT, when set, have their usual effect and are reported:
//
//	GOGC=off GOMEMLIMIT=1GiB go run ./perf/space
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// The limits, as ratios.
const (
	limitAlways    = 2.0  // space beyond two segments / live bytes
	limitSettled   = 1.6  // space / live bytes
	limitCompacted = 1.05 // space / space of a new store
	limitIndex     = 1.1  // memory of the index / after the load
	limitHeap      = 1.1  // live heap / live heap after the load and heapBeside
)

// heapBeside is how many bytes of heap background work may hold.
const heapBeside = 16 << 20

const (
	sampleEvery = 100 * time.Millisecond
	// The background is at rest when nothing has changed for restFor, which is longer
	// than it waits before it frees held space.
	restFor = 1500 * time.Millisecond
)

func main() { rig.Main(run) }

type config struct {
	data            rig.Data
	segment         rig.Bytes
	rounds, writers int
	seed            uint64
	settle          time.Duration
}

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	c := config{segment: 16 << 20}
	flags := flag.NewFlagSet("space", flag.ContinueOnError)
	flags.IntVar(&c.data.Keys, "keys", 1_000_000, "number of `keys`")
	flags.IntVar(&c.data.ValueSize, "value", 128, "size of a value in `bytes`")
	flags.Var(&c.segment, "segment", "`size` of a segment")
	flags.IntVar(&c.rounds, "rounds", 10, "number of `rounds`; each overwrites as many keys as there are")
	flags.IntVar(&c.writers, "writers", 1, "`goroutines` that overwrite")
	flags.IntVar(&c.data.Rate, "rate", 0, "`puts` per second of each writer (default: no limit)")
	flags.Uint64Var(&c.seed, "seed", 1, "`seed` of the random keys")
	flags.DurationVar(&c.settle, "settle", 5*time.Second, "how long background work may take to finish")
	parent := flags.String("dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return err
	}
	if err := c.data.Check(); err != nil {
		return err
	}
	if c.rounds < 0 || c.writers < 1 {
		return fmt.Errorf("%w: %d rounds, %d writers", rig.ErrUsage, c.rounds, c.writers)
	}
	return rig.InFreshDir(*parent, func(dir string) error {
		fmt.Fprintf(out, "%d keys of %d bytes, values of %d bytes, segments of %v, %d writing, seed %d\n%s\n\n",
			c.data.Keys, rig.KeySize, c.data.ValueSize, c.segment, c.writers, c.seed, rig.Setting(dir))
		return c.measure(ctx, dir, out)
	})
}

func (c config) measure(ctx context.Context, dir string, out io.Writer) error {
	used := filepath.Join(dir, "used")
	store, err := c.open(used)
	if err != nil {
		return err
	}
	defer store.Close()
	s := startSampler(store, used, int64(c.segment))
	defer s.stop()
	table := newTable(out, store, s)
	defer table.end() // after a failure: what was measured before it

	if err := table.row("load", c.data.Keys, func() error { return c.data.Load(ctx, store, c.writers) }); err != nil {
		return err
	}
	loaded := table.memory
	for round := range c.rounds {
		name := fmt.Sprintf("round %d", round+1)
		err := table.row(name, c.data.Keys, func() error {
			return c.data.Overwrite(ctx, store, c.data.Keys, c.writers, c.seed+uint64(round))
		})
		if err != nil {
			return err
		}
	}
	if err := table.row("rest", 0, func() error { return s.awaitRest(ctx, c.settle) }); err != nil {
		return err
	}
	settled, overwritten := table.last, table.memory
	if err := table.row("Compact", 0, func() error { return store.Compact(ctx) }); err != nil {
		return err
	}
	table.end()
	worst, stats := table.worst, store.Stats()

	compacted, fresh, err := c.besideFresh(ctx, store, s, used, filepath.Join(dir, "fresh"))
	if err != nil {
		return err
	}
	c.report(out, stats, s)
	limits := rig.Limits{Out: out}
	limits.AtMost("used beyond two segments / live, in the worst sample", worst.beyond(int64(c.segment)), limitAlways)
	limits.AtMost("used / live, at rest", settled.ratio(), limitSettled)
	what := fmt.Sprintf("compacted %v / newly loaded %v", rig.Bytes(compacted), rig.Bytes(fresh))
	limits.AtMost(what, float64(compacted)/float64(fresh), limitCompacted)
	limits.AtMost(fmt.Sprintf("index at rest, %v / when loaded", rig.Bytes(overwritten.index)), overwritten.index/loaded.index, limitIndex)
	what = fmt.Sprintf("heap at rest, %v / when loaded, and %v", rig.Bytes(overwritten.heap), rig.Bytes(heapBeside))
	limits.AtMost(what, overwritten.heap/(loaded.heap+heapBeside), limitHeap)
	return limits.Err()
}

// memory is how much memory the store takes, in bytes.
type memory struct{ index, heap float64 }

func memoryOf(store *mmapkv.Store) memory {
	return memory{index: float64(store.Stats().IndexBytes), heap: float64(rig.HeapInUse())}
}

func (c config) open(dir string) (*mmapkv.Store, error) {
	return mmapkv.Open(dir, &mmapkv.Options{SegmentSize: int64(c.segment)})
}

// besideFresh loads the store's content into a new store, closes both, and returns the
// space that each takes.
func (c config) besideFresh(ctx context.Context, store *mmapkv.Store, s *sampler, dir, freshDir string) (compacted, fresh int64, err error) {
	other, err := c.open(freshDir)
	if err != nil {
		return 0, 0, err
	}
	defer other.Close()
	if err := c.data.Verify(ctx, store, other.Put); err != nil {
		return 0, 0, err
	}
	if err := s.stop(); err != nil {
		return 0, 0, err
	}
	if err := store.Close(); err != nil {
		return 0, 0, err
	}
	if err := other.Close(); err != nil {
		return 0, 0, err
	}
	if compacted, err = totalAllocated(dir); err != nil {
		return 0, 0, err
	}
	fresh, err = totalAllocated(freshDir)
	return compacted, fresh, err
}

func totalAllocated(dir string) (total int64, err error) {
	files, err := rig.Allocated(dir)
	for _, bytes := range files {
		total += bytes
	}
	return total, err
}

func (c config) report(out io.Writer, stats mmapkv.Stats, s *sampler) {
	done := stats.Compaction
	fmt.Fprintf(out, "\n%d compactions in %v, %d failed; read %v, wrote %v; writers waited %v together\n",
		done.Runs, done.Duration.Round(time.Millisecond), done.Failed, rig.Bytes(done.BytesIn), rig.Bytes(done.BytesOut),
		stats.WriteStall.Round(time.Millisecond))
	if done.LastError != nil {
		fmt.Fprintf(out, "the last failure: %v\n", done.LastError)
	}
	fmt.Fprintf(out, "memory: at most %v resident, pages of files included; at most %v without them in a sample\n\n",
		rig.ReadMemory().Peak, s.anonymous())
}

// table prints a line for each phase.
type table struct {
	out     *tabwriter.Writer
	store   *mmapkv.Store
	sampler *sampler
	before  mmapkv.Stats
	worst   use    // of all phases
	last    use    // at the end of the last phase
	memory  memory // at the same time as last
}

func newTable(out io.Writer, store *mmapkv.Store, s *sampler) *table {
	t := &table{out: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight), store: store, sampler: s}
	fmt.Fprintln(t.out, "phase\ttook\tputs/s\twaited\tworst\tused/live\tlive\tcompactions\tread\twrote\tindex\theap\t")
	return t
}

// row runs a phase and prints its line. Worst is the maximum of the space beyond two
// segments over the live bytes; the figures after it are those at the end.
func (t *table) row(name string, puts int, phase func() error) error {
	began := time.Now()
	if err := phase(); err != nil {
		return err
	}
	took := time.Since(began)
	worst, last, err := t.sampler.endPhase()
	if err != nil {
		return err
	}
	after := t.store.Stats()
	done, before := after.Compaction, t.before.Compaction
	t.memory = memoryOf(t.store)
	speed := ""
	if puts > 0 {
		speed = fmt.Sprintf("%.0f", float64(puts)/took.Seconds())
	}
	fmt.Fprintf(t.out, "%s\t%.2fs\t%s\t%.2fs\t%.2f\t%.2f\t%v\t%d\t%v\t%v\t%v\t%v\t\n", name, took.Seconds(), speed,
		(after.WriteStall - t.before.WriteStall).Seconds(), worst.beyond(t.sampler.segment), last.ratio(), rig.Bytes(last.live),
		done.Runs-before.Runs, rig.Bytes(done.BytesIn-before.BytesIn), rig.Bytes(done.BytesOut-before.BytesOut),
		rig.Bytes(t.memory.index), rig.Bytes(t.memory.heap))
	if worst.beyond(t.sampler.segment) > t.worst.beyond(t.sampler.segment) {
		t.worst = worst
	}
	t.last, t.before = last, after
	return nil
}

// end flushes the table.
func (t *table) end() { t.out.Flush() }
