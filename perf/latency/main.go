// Command latency measures how long reads take while a writer, full scans and compaction
// run.
//
//	go run ./perf/latency
//	go run ./perf/latency -keys 100000 -duration 3s -background
//	go run ./perf/latency -rate 50000 -segment 16MiB -rounds 5 -scanlimit 1.5
//
// One reader reads random keys at a fixed rate. A read's latency counts from its
// intended start, whatever delayed it, so that the wait behind a slow read is
// included. There is a phase for each combination of two choices: nothing else runs,
// or a writer overwrites random keys at full speed, or a writer and a goroutine that
// scans all pairs in order without pause, or a writer and compaction without pause; and
// the reader reads, or only keeps its pace. Without reads, the
// latency is that of the machine and the scheduler: on few or shared processors it is
// most of the latency of the slowest reads.
//
// The store never syncs by itself. Compaction is Store.Compact in a loop, beside the
// same writer; with -background it is the background compaction, for which writers
// wait as well. Each phase begins with a compacted store.
//
// The reader sleeps until the next start, and reads at once if it is late. It sleeps
// in the system, on its own thread. On a machine with two processors, beside two busy
// goroutines, it wakes up sooner than a goroutine in the runtime's poller, and takes
// less than half the processor time; spinning would occupy one of the processors. The
// kernel lets it sleep some 50 µs longer than asked. Every latency includes this; the
// second table, which counts from the actual start of the read, does not.
//
// It fails if a read or a scan does not find its key's value, if a scan misses a key, or
// if the 99.9th percentile beside compaction is more than -limit times that beside the
// writer alone, or beside scans more than -scanlimit times.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func main() { rig.Main(run) }

type config struct {
	data       rig.Data
	segment    rig.Bytes
	rate       int // reads a second
	duration   time.Duration
	rounds     int
	background bool
	limit      float64 // beside compaction
	scanLimit  float64 // beside scans
	seed       uint64
}

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	c := config{segment: 64 << 20}
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	flags.IntVar(&c.data.Keys, "keys", 1_000_000, "number of `keys`")
	flags.IntVar(&c.data.ValueSize, "value", 128, "size of a value in `bytes`")
	flags.Var(&c.segment, "segment", "`size` of a segment")
	flags.IntVar(&c.rate, "rate", 20_000, "`reads` a second")
	flags.DurationVar(&c.duration, "duration", 10*time.Second, "how long each phase takes")
	flags.IntVar(&c.rounds, "rounds", 1, "number of `rounds` of all phases; figures are over all rounds")
	flags.BoolVar(&c.background, "background", false, "use background compaction")
	flags.Float64Var(&c.limit, "limit", 0, "maximum `ratio` of p99.9 beside compaction to p99.9 beside the writer; 0: any")
	flags.Float64Var(&c.scanLimit, "scanlimit", 0, "maximum `ratio` of p99.9 beside scans and the writer to p99.9 beside the writer; 0: any")
	flags.Uint64Var(&c.seed, "seed", 1, "`seed` of the random keys")
	parent := flags.String("dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return err
	}
	if err := c.data.Check(); err != nil {
		return err
	}
	if c.rate < 1 || c.reads() < 1 || c.rounds < 1 || c.limit < 0 || c.scanLimit < 0 {
		return fmt.Errorf("%w: %d reads a second for %v, %d rounds, limits %v and %v", rig.ErrUsage, c.rate, c.duration, c.rounds, c.limit, c.scanLimit)
	}
	return rig.InFreshDir(*parent, func(dir string) error {
		fmt.Fprintf(out, "%d keys of %d bytes, values of %d bytes, segments of %v, %d reads a second, phases of %v, seed %d\n%s\n\n",
			c.data.Keys, rig.KeySize, c.data.ValueSize, c.segment, c.rate, c.duration, c.seed, rig.Setting(dir))
		return c.measure(ctx, filepath.Join(dir, "store"), out)
	})
}

// interval is the time from one start to the next.
func (c config) interval() time.Duration { return max(time.Second/time.Duration(c.rate), 1) }

// reads is how many reads a phase starts.
func (c config) reads() int { return int(c.duration / c.interval()) }

// warmUp is how long the writer and the compaction run before a phase counts.
func (c config) warmUp() time.Duration { return min(c.duration/10, time.Second) }

// beside is what runs beside the reader.
type beside int

const (
	nothing beside = iota
	writing
	scanning   // and writing
	compacting // and writing
	besides
)

func (b beside) String() string { return [...]string{"idle", "writer", "scans", "compaction"}[b] }

// phase is one thing to measure.
type phase struct {
	beside beside
	reads  bool // false: only keeps the pace
}

func (p phase) String() string {
	if p.reads {
		return p.beside.String()
	}
	return p.beside.String() + ", no reads"
}

func (c config) measure(ctx context.Context, dir string, out io.Writer) (err error) {
	store, err := c.open(dir, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := c.data.Load(ctx, store, 1); err != nil {
		return err
	}
	results := map[phase]*result{}
	for round := range c.rounds {
		for b := nothing; b < besides; b++ {
			if c.background && (b == compacting || b == nothing && round > 0) {
				if err := store.Close(); err != nil {
					return err
				}
				if store, err = c.open(dir, b == nothing); err != nil {
					return err
				}
			}
			for _, p := range []phase{{b, true}, {b, false}} {
				if results[p] == nil {
					results[p] = newResult()
				}
				if err := c.run(ctx, store, p, round, results[p]); err != nil {
					return fmt.Errorf("%v: %w", p, err)
				}
			}
		}
	}
	report(out, results)
	return c.compare(out, results)
}

func (c config) open(dir string, disabled bool) (*mmapkv.Store, error) {
	return mmapkv.Open(dir, &mmapkv.Options{
		SegmentSize: int64(c.segment),
		Sync:        fsync.Never,
		Compaction:  mmapkv.Compaction{Disabled: disabled},
	})
}

// report prints the tables.
func report(out io.Writer, results map[phase]*result) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "from the intended start\tp50\tp99\tp99.9\tp99.99\tmax\tputs/s\tscanned/s\tcompacted/s\tcompactions\twaited\tprocessors\t")
	each(results, func(p phase, r *result) {
		fmt.Fprintf(table, "%v\t%s%.0f\t%.0f\t%v\t%d\t%v\t%.2f\t\n", p, percentiles(r.latency), float64(r.puts)/r.took.Seconds(), float64(r.scanned)/r.took.Seconds(),
			rig.Bytes(float64(r.compacted)/r.took.Seconds()), r.compactions, r.stalled.Round(time.Millisecond),
			r.processorTime.Seconds()/r.took.Seconds())
	})
	fmt.Fprintln(table)
	fmt.Fprintln(table, "from the start of the read\tp50\tp99\tp99.9\tp99.99\tmax\t")
	each(results, func(p phase, r *result) {
		if p.reads {
			fmt.Fprintf(table, "%v\t%s\n", p, percentiles(r.alone))
		}
	})
	table.Flush()
}

// each calls fn for each phase, in the order of the report.
func each(results map[phase]*result, fn func(phase, *result)) {
	for _, reads := range []bool{true, false} {
		for b := nothing; b < besides; b++ {
			p := phase{b, reads}
			fn(p, results[p])
		}
	}
}

// compare prints how compaction and scans affect the slow reads.
func (c config) compare(out io.Writer, results map[phase]*result) error {
	limits := rig.Limits{Out: out}
	fmt.Fprintln(out)
	for _, against := range []struct {
		beside beside
		limit  float64
	}{{scanning, c.scanLimit}, {compacting, c.limit}} {
		ratio := func(reads bool) float64 {
			return slow(results[phase{against.beside, reads}].latency) / slow(results[phase{writing, reads}].latency)
		}
		what := fmt.Sprintf("p99.9 beside %v / beside the writer alone", against.beside)
		fmt.Fprintf(out, "%-58s %7.3f\n", what+", no reads", ratio(false))
		if against.limit == 0 {
			fmt.Fprintf(out, "%-58s %7.3f\n", what, ratio(true))
		} else {
			limits.AtMost(what, ratio(true), against.limit)
		}
	}
	return limits.Err()
}
