// Command copyspeed measures how fast a compaction processes segments that are half
// garbage, compared with a plain copy of the same files.
//
//	go run ./perf/copyspeed
//	go run ./perf/copyspeed -size 32MiB -value 128
//
// In each round a store is filled without compaction, every second key is written
// again, and the store is closed and opened. Then the command copies the segments
// that hold garbage to new files, naively, with reads and writes of 1 MiB and an
// fdatasync; and after that it times Store.Compact, which checks each record, writes
// the half that is needed, with a hint, syncs, and updates the index. Both speeds are
// bytes of input per second, with the input in memory as the fill left it.
//
// It fails if, for any size of value, the median of the compactions is less than
// -limit times the median of the copies.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/segment"
)

func main() { rig.Main(run) }

type config struct {
	size, segment rig.Bytes
	values        []int
	rounds        int
	limit         float64
}

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	c := config{size: 256 << 20, segment: 64 << 20, values: []int{1024}}
	flags := flag.NewFlagSet("copyspeed", flag.ContinueOnError)
	flags.Var(&c.size, "size", "`size` of the records of a fill")
	flags.Var(&c.segment, "segment", "`size` of a segment")
	flags.Func("value", "sizes of values in `bytes`, measured in turn (default 1024)", c.setValues)
	flags.IntVar(&c.rounds, "rounds", 3, "number of `rounds`; figures are their medians")
	flags.Float64Var(&c.limit, "limit", 0.5, "minimum `fraction` of the copy's speed; 0: any")
	parent := flags.String("dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return err
	}
	for _, value := range c.values {
		if err := c.data(value).Check(); err != nil {
			return err
		}
	}
	if c.rounds < 1 || c.limit < 0 {
		return fmt.Errorf("%w: %d rounds, limit %v", rig.ErrUsage, c.rounds, c.limit)
	}
	return rig.InFreshDir(*parent, func(dir string) error {
		fmt.Fprintf(out, "%v of records in segments of %v, %d rounds\n%s\n\n", c.size, c.segment, c.rounds, rig.Setting(dir))
		return c.measure(ctx, dir, out)
	})
}

func (c *config) setValues(list string) error {
	c.values = nil
	for number := range strings.SplitSeq(list, ",") {
		value, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("%q is not a list of sizes such as 1024", list)
		}
		c.values = append(c.values, value)
	}
	return nil
}

// data is as many keys as fill the size.
func (c *config) data(value int) rig.Data {
	record := segment.RecordSize(rig.KeySize, int64(value), 0)
	return rig.Data{Keys: int(int64(c.size) / record), ValueSize: value}
}

// speeds are the speeds of all rounds with one size of value.
type speeds struct {
	value             int
	copied, compacted []float64 // bytes of input a second
}

func (s *speeds) ratio() float64 { return median(s.compacted) / median(s.copied) }

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (c *config) measure(ctx context.Context, dir string, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer table.Flush() // after a failure: what was measured before it
	fmt.Fprintln(table, "value\tround\tcopied\ttook\ta second\tcompacted\twrote\ttook\ta second\t")
	var all []*speeds
	for _, value := range c.values {
		s := &speeds{value: value}
		for round := range c.rounds {
			copied, compacted, err := c.round(ctx, dir, c.data(value))
			if err != nil {
				return err
			}
			fmt.Fprintf(table, "%d\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t%v\t\n", value, round+1,
				copied.in, copied.took.Round(time.Millisecond), rig.Bytes(copied.speed()),
				compacted.in, compacted.out, compacted.took.Round(time.Millisecond), rig.Bytes(compacted.speed()))
			s.copied = append(s.copied, copied.speed())
			s.compacted = append(s.compacted, compacted.speed())
		}
		all = append(all, s)
	}
	table.Flush()
	fmt.Fprintln(out)
	limits := rig.Limits{Out: out}
	for _, s := range all {
		what := fmt.Sprintf("values of %d: compaction %v/s / copy %v/s", s.value, rig.Bytes(median(s.compacted)), rig.Bytes(median(s.copied)))
		limits.AtLeast(what, s.ratio(), c.limit)
	}
	return limits.Err()
}
