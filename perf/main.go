// Command perf measures mmapkv and compares it with floors, the least work with the
// same effect, and with a Go map.
//
//	go run ./perf
//	go run ./perf -run view,get -rounds 1 -cpuprofile cpu.out
//	go run ./perf -list
//
// In a round each engine loads a new store in a fresh directory and runs the
// workloads, each followed by its floor. The command prints a table and, with -html,
// writes a self-contained page; perf/README.md says how to read them.
//
// It fails if a read does not find its key's value.
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
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/floor"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/report"
	"github.com/mmapkv/mmapkv/perf/workload"
)

func main() {
	workload.Child(engines(mmapkv.Options{}))
	rig.Main(run)
}

type config struct {
	workload.Config
	maxData   rig.Bytes
	values    []int
	rounds    int
	options   mmapkv.Options
	workloads []workload.Workload
	engines   []string
	floors    bool
	html      string
	profiles  rig.Profiles
}

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	c, parent, list, err := parse(arguments, out)
	if err != nil {
		return err
	}
	if list {
		return printWorkloads(out)
	}
	return rig.InFreshDir(parent, func(dir string) error { return c.measure(ctx, dir, out) })
}

func parse(arguments []string, out io.Writer) (c *config, parent string, list bool, err error) {
	c = &config{values: []int{128}, maxData: 1 << 30, engines: allEngines()}
	c.Goroutines, c.Durable = []int{1, 2}, []int{1, 4, 16, 64}
	segmentSize := rig.Bytes(256 << 20)
	var names []string
	flags := flag.NewFlagSet("perf", flag.ContinueOnError)
	flags.IntVar(&c.Keys, "keys", 1_000_000, "number of `keys`")
	flags.IntVar(&c.KeySize, "key", 24, "size of a key in `bytes`")
	flags.Func("value", "`sizes` of values in bytes, measured in turn: 16,128,1024,65536 (default 128)", numbers(&c.values))
	flags.Var(&c.maxData, "maxdata", "`size` of the data; there are fewer keys if they would need more")
	flags.IntVar(&c.rounds, "rounds", 5, "number of `rounds`; figures are their medians")
	flags.IntVar(&c.Operations, "operations", 1_000_000, "`operations` of each goroutine in a workload; all stop when the first is done")
	flags.DurationVar(&c.Longest, "longest", 10*time.Second, "how long a workload may take; slower ones do fewer operations")
	flags.Func("goroutines", "`numbers` of goroutines that read (default 1,2)", numbers(&c.Goroutines))
	flags.IntVar(&c.Swath, "swath", 1_000_000, "`keys` next to each other that are deleted before a scan")
	flags.IntVar(&c.BatchSize, "batch", 100, "`pairs` in a batch")
	flags.Func("durable", "`numbers` of goroutines that write durably (default 1,4,16,64)", numbers(&c.Durable))
	flags.IntVar(&c.Rate, "rate", 50_000, "`operations` that start per second in latency workloads")
	flags.DurationVar(&c.Phase, "phase", 5*time.Second, "how long each timed part takes")
	flags.DurationVar(&c.Rest, "rest", 10*time.Second, "how long a workload waits at most for background work to finish")
	flags.IntVar(&c.WriterRate, "writer", 0, "`puts` per second of the writer beside the readers; 0: no limit")
	flags.Var(&segmentSize, "segment", "`size` of a segment")
	flags.BoolVar(&c.options.SkipReadChecksum, "skipchecksum", false, "do not verify values on reads")
	flags.BoolVar(&c.options.Preload, "preload", false, "read the segments into memory in Open")
	flags.IntVar(&c.options.ExpectedKeys, "expected", 0, "`keys` that the index is sized for up front")
	flags.Func("run", "`names` of workloads; name* for a prefix (default: all)", words(&names))
	flags.Func("engines", "`names` of engines (default "+strings.Join(allEngines(), ",")+")", words(&c.engines))
	flags.BoolVar(&c.floors, "floors", true, "measure the floors as well")
	flags.StringVar(&c.html, "html", "", "write a page to this `file`")
	flags.Uint64Var(&c.Seed, "seed", 1, "`seed` of keys, values and choices")
	flags.BoolVar(&list, "list", false, "list the workloads")
	flags.StringVar(&parent, "dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	c.profiles.Define(flags)
	if err := rig.Parse(flags, arguments, out); err != nil {
		return nil, "", false, err
	}
	c.options.SegmentSize = int64(segmentSize)
	if c.workloads, err = workload.Select(names); err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, "", false, fmt.Errorf("%w: %w", rig.ErrUsage, err)
	}
	return c, parent, list, nil
}

func numbers(to *[]int) func(string) error {
	return func(list string) error {
		*to = nil
		for word := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(word)
			if err != nil {
				return fmt.Errorf("%q is not a list of numbers such as 1,2", list)
			}
			*to = append(*to, n)
		}
		return nil
	}
}

func words(to *[]string) func(string) error {
	return func(list string) error {
		*to = strings.Split(list, ",")
		return nil
	}
}

func (c *config) check() error {
	for _, name := range c.engines {
		if !slices.Contains(allEngines(), name) {
			return fmt.Errorf("there is no engine %q", name)
		}
	}
	for _, value := range c.values {
		if err := c.sized(value).Check(); err != nil {
			return err
		}
	}
	if c.rounds < 1 {
		return fmt.Errorf("%d rounds", c.rounds)
	}
	return nil
}

// sized is the configuration for values of this size.
func (c *config) sized(value int) workload.Config {
	sized := c.Config
	sized.ValueSize = value
	if fit := int64(c.maxData) / int64(max(1, c.KeySize+value)); int64(sized.Keys) > fit {
		sized.Keys = int(max(1, fit))
	}
	return sized
}

func printWorkloads(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, w := range workload.All() {
		fmt.Fprintf(table, "%s\t%s\n", w.Name, w.About)
	}
	return table.Flush()
}

// measure goes through all rounds and reports.
func (c *config) measure(ctx context.Context, dir string, out io.Writer) error {
	r := &report.Report{Title: "mmapkv compared with its floors", Baselines: []string{floor.Name, goMap}}
	r.Stamp = report.Stamp(dir, c.stamp()...)
	err := c.allRounds(ctx, dir, out, r)
	err = errors.Join(err, c.profiles.Stop())
	r.Stamp = append(r.Stamp, report.Line{Name: "load at the end", Value: report.Load()})
	if err := errors.Join(err, r.WriteTable(out)); err != nil { // after a failure: what was measured before it
		return err
	}
	if c.html == "" {
		return nil
	}
	return r.WriteFile(c.html)
}

func (c *config) stamp() []report.Line {
	lines := []report.Line{
		{Name: "data", Value: fmt.Sprintf("%d keys of %d bytes, values of %v bytes, at most %v, seed %d", c.Keys, c.KeySize, c.values, c.maxData, c.Seed)},
		{Name: "measured", Value: fmt.Sprintf("%d rounds, %d operations of each goroutine or %v, %d a second for %v where latency is measured", c.rounds, c.Operations, c.Longest, c.Rate, c.Phase)},
	}
	for _, e := range engines(c.options) {
		if slices.Contains(c.engines, e.Name) {
			lines = append(lines, report.Line{Name: e.Name, Value: fmt.Sprintf("%s; %v", e.Settings, e.Survives)})
		}
	}
	return lines
}

func (c *config) allRounds(ctx context.Context, dir string, out io.Writer, r *report.Report) error {
	for round := range c.rounds {
		fmt.Fprintf(out, "round %d:", round+1)
		for _, value := range c.values {
			for _, e := range engines(c.options) {
				workloads := c.workloadsOf(e.Name)
				if len(workloads) == 0 {
					continue
				}
				began := time.Now()
				if err := c.turn(ctx, dir, round, value, e, workloads, r); err != nil {
					return err
				}
				fmt.Fprintf(out, " %s %.1fs", e.Name, time.Since(began).Seconds())
			}
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
	return nil
}

// turn measures one engine with one size of values.
func (c *config) turn(ctx context.Context, dir string, round, value int, e workload.Engine, workloads []workload.Workload, r *report.Report) error {
	emit := func(result workload.Result) {
		if len(c.values) > 1 {
			result.Workload = withSize(result.Workload, value)
		}
		r.Add(round, result)
	}
	return rig.InFreshDir(dir, func(dir string) error {
		own := filepath.Join(dir, "store")
		if err := os.Mkdir(own, 0o700); err != nil {
			return err
		}
		sized := c.sized(value)
		sized.Before = func(name string) error {
			if name == "load" && !slices.ContainsFunc(workloads, func(w workload.Workload) bool { return w.Name == name }) {
				return nil // the profiles are not about the load
			}
			return c.profiles.Start()
		}
		floors := floors{config: sized, engine: e.Name, segmentSize: c.options.SegmentSize, dir: filepath.Join(dir, "aside"), emit: emit}
		sized.After = func(ctx context.Context, name, own string) error {
			if err := c.profiles.Heap(); err != nil || !c.floors {
				return err
			}
			return floors.after(ctx, name, own)
		}
		return workload.Run(ctx, e, own, sized, workloads, emit)
	})
}

// withSize adds the size of values to a workload's name.
func withSize(name string, value int) string {
	family, phase, phased := strings.Cut(name, "/")
	family += " " + rig.Bytes(value).String()
	if phased {
		return family + "/" + phase
	}
	return family
}

// The engines. Each is measured only with workloads in which it differs from the
// others.
const (
	every  = "mmapkv"
	never  = "mmapkv Never"
	always = "mmapkv Always"
	goMap  = "Go map"
)

func allEngines() []string { return []string{every, never, always, goMap} }

func engines(options mmapkv.Options) []workload.Engine {
	with := func(p fsync.Policy) mmapkv.Options {
		o := options
		o.Sync = p
		return o
	}
	return []workload.Engine{
		workload.MMapKV(every, options),
		workload.MMapKV(never, with(fsync.Never)),
		workload.MMapKV(always, with(fsync.Always)),
		workload.GoMap(),
	}
}

// needsOrder says that only a store with ordered keys, or with files, can do it.
func needsOrder(name string) bool {
	return slices.Contains(walking[2:], name) ||
		slices.Contains([]string{"ycsb-e", "scan-beside", "scan-compacted", "loading", "prefix", "swath", "order"}, name)
}

func (c *config) workloadsOf(engine string) []workload.Workload {
	if !slices.Contains(c.engines, engine) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.workloads), func(w workload.Workload) bool {
		switch engine {
		case never:
			return !slices.Contains([]string{"load", "put", "batch", "put-latency"}, w.Name)
		case always:
			return !slices.Contains([]string{"durable", "batch", "put-latency"}, w.Name)
		case goMap:
			return slices.Contains([]string{"disk", "read-latency", "put-latency", "compaction", "durable", "open", "open-killed", "cold"}, w.Name) || needsOrder(w.Name) ||
				c.floors && slices.Contains(c.engines, every) && slices.Contains(reading, w.Name)
		default:
			return w.Name == "durable"
		}
	})
}
