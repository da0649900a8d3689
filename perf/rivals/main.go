// Command rivals compares mmapkv with what a Go service could embed instead: bbolt,
// badger, pebble, goleveldb, buntdb, and a Go map guarded by a sync.RWMutex. Run it in
// this directory, a separate module so that mmapkv does not require the rivals:
//
//	go run .
//	go run . -keys 100000 -count 3 -engines mmapkv,pebble,map
//	go run . -run scan,seek,ycsb-e -segment 16MiB -engines mmapkv,bbolt,pebble
//
// Each engine is configured as its own documentation advises; the files engine_*.go
// say how, and cite the documentation.
//
// Engines take turns, A B C A B C, so that other load on the machine affects all of
// them alike. In a turn an engine does everything: a child process loads a new store
// and is killed; the store is opened, overwritten, read and written to at fixed rates,
// brought to its best state, read, closed, opened and closed, and written to with a
// sync for each write. Only one engine is open at a time. Every read checks that the
// value belongs to its key.
//
// Figures are medians over the rounds: times for one operation, and bytes; less is
// better in all of them. With several goroutines the time is divided by the operations
// of all of them. In brackets is the median ratio to mmapkv's figure of the same
// round: above 1 mmapkv is better.
//
// It fails if an engine does not find what it should. For engines that promise to
// survive SIGKILL that is everything that the child put.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func main() {
	loadIfChild()
	rig.Main(run)
}

type config struct {
	keys, valueSize int
	duration        time.Duration
	latency         time.Duration // how long reads and puts run at a fixed rate
	readRate        int           // a second
	putRate         int           // a second
	rest            time.Duration
	swath           int // keys
	segment         rig.Bytes
	count           int
	engines         string
	steps           []string // those that are measured
	seed            uint64
	rivals          []rival
}

// maxKeys is below the first number of an absent key.
const maxKeys = absent - 1

// maxRate is a rate with an interval of a nanosecond or more.
const maxRate = int(time.Second)

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	var c config
	flags := flag.NewFlagSet("rivals", flag.ContinueOnError)
	flags.IntVar(&c.keys, "keys", 1_000_000, "number of `keys`")
	flags.IntVar(&c.valueSize, "value", 128, "size of a value in `bytes`")
	flags.DurationVar(&c.duration, "time", 300*time.Millisecond, "how long each workload takes in a round")
	flags.DurationVar(&c.latency, "latency", 2*time.Second, "how long reads and puts run at a fixed rate in a round, twice")
	flags.IntVar(&c.readRate, "reads", 50_000, "`reads` per second at the fixed rate")
	flags.IntVar(&c.putRate, "puts", 5_000, "`puts` per second at the fixed rate; the slowest engine must keep up")
	flags.DurationVar(&c.rest, "rest", 3*time.Second, "how long to wait at most for background work before scans")
	flags.IntVar(&c.swath, "swath", 1_000_000, "`keys` next to each other that are deleted before a scan")
	flags.Var(&c.segment, "segment", "`size` of a segment of mmapkv (default: its own default)")
	flags.Func("run", "what is measured (default "+strings.Join(stepNames(), ",")+")", func(names string) error {
		c.steps = strings.Split(names, ",")
		return nil
	})
	flags.IntVar(&c.count, "count", 5, "`rounds`")
	flags.StringVar(&c.engines, "engines", allNames(), "the engines; the others are compared with the first")
	flags.Uint64Var(&c.seed, "seed", 1, "`seed` of the random keys and values")
	parent := flags.String("dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	return rig.InFreshDir(*parent, func(dir string) error {
		fmt.Fprintf(out, "%d keys of %d bytes, values of %d bytes, %d rounds, %v for each workload, %d reads and %d puts a second for %v, seed %d\n%s\n\n",
			c.keys, keySize, c.valueSize, c.count, c.duration, c.readRate, c.putRate, c.latency, c.seed, rig.Setting(dir))
		return c.compare(ctx, dir, out)
	})
}

func allNames() string {
	var names []string
	for _, r := range rivals {
		names = append(names, r.name)
	}
	return strings.Join(names, ",")
}

func (c *config) check() error {
	if c.keys < 1 || c.keys > maxKeys || c.valueSize < minValueSize || c.count < 1 {
		return fmt.Errorf("%w: %d keys, values of %d bytes, %d rounds", rig.ErrUsage, c.keys, c.valueSize, c.count)
	}
	if c.steps == nil {
		c.steps = stepNames()
	}
	for _, name := range c.steps {
		if !slices.Contains(stepNames(), name) {
			return fmt.Errorf("%w: there is nothing named %q to measure", rig.ErrUsage, name)
		}
	}
	if c.swath < 1 || c.rest < 0 {
		return fmt.Errorf("%w: a swath of %d keys, a rest of %v", rig.ErrUsage, c.swath, c.rest)
	}
	if c.duration <= 0 || c.latency <= 0 || c.readRate < 1 || c.readRate > maxRate || c.putRate < 1 || c.putRate > maxRate {
		return fmt.Errorf("%w: workloads of %v, %d reads and %d puts a second for %v", rig.ErrUsage, c.duration, c.readRate, c.putRate, c.latency)
	}
	for name := range strings.SplitSeq(c.engines, ",") {
		r, err := rivalNamed(name)
		if err != nil {
			return fmt.Errorf("%w: %w", rig.ErrUsage, err)
		}
		if slices.ContainsFunc(c.rivals, func(other rival) bool { return other.name == name }) {
			return fmt.Errorf("%w: engine %q is given twice", rig.ErrUsage, name)
		}
		c.rivals = append(c.rivals, r.withSegments(int64(c.segment)))
	}
	return nil
}

// compare runs the engines in turns, and prints the table.
func (c *config) compare(ctx context.Context, dir string, out io.Writer) error {
	data := newData(c.keys, c.valueSize)
	all := results{}
	for round := range c.count {
		fmt.Fprintf(out, "round %d:", round+1)
		for _, r := range c.rivals {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			began := time.Now()
			t := turn{config: *c, rival: r, ctx: ctx, data: data, seed: c.seed + uint64(round), dir: filepath.Join(dir, r.name)}
			if err := errors.Join(t.take(), os.RemoveAll(t.dir)); err != nil {
				return err
			}
			all[r.name] = append(all[r.name], t.figures)
			fmt.Fprintf(out, " %s %.1fs", r.name, time.Since(began).Seconds())
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
	all.print(out, c.rivals)
	return nil
}
