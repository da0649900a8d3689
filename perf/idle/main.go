// Command idle measures what unused stores cost: processor time, descriptors, mappings
// and goroutines of a process that has thousands of stores open.
//
//	go run ./perf/idle
//	go run ./perf/idle -stores 500 -segments 8 -duration 30s
//
// Each store has a few keys, in one segment or more. When all are open, the process
// waits -settle for the work that Open began, and then does nothing for -duration.
//
// It fails if that takes more than -limit of one processor, or if a store has more
// descriptors than one for each segment plus two. The Go runtime may have four.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

func main() { rig.Main(run) }

type config struct {
	stores, segments int
	settle, duration time.Duration
	limit            float64
}

// run runs the whole command.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	var c config
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	flags.IntVar(&c.stores, "stores", 4000, "`number` of stores")
	flags.IntVar(&c.segments, "segments", 1, "minimum `number` of segments of a store")
	flags.DurationVar(&c.settle, "settle", 15*time.Second, "`time` between the last Open and the measurement")
	flags.DurationVar(&c.duration, "duration", 20*time.Second, "`time` of the measurement")
	flags.Float64Var(&c.limit, "limit", 0.03, "maximum `fraction` of one processor; 0: any")
	parent := flags.String("dir", "", "create a fresh directory in this `directory` (default: the system's temporary directory)")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return err
	}
	if c.stores < 1 || c.segments < 1 || c.duration <= 0 || c.settle < 0 || c.limit < 0 {
		return fmt.Errorf("%w: %+v", rig.ErrUsage, c)
	}
	return rig.InFreshDir(*parent, func(dir string) error {
		fmt.Fprintf(out, "%d stores, %s\n\n", c.stores, rig.Setting(dir))
		return c.measure(ctx, dir, out)
	})
}

// use is the number of things that the process has.
type use struct{ descriptors, mappings, goroutines, segments int }

func (c *config) measure(ctx context.Context, dir string, out io.Writer) (err error) {
	before := countUse(dir)
	stores, err := c.open(ctx, dir)
	defer func() {
		for _, s := range stores {
			err = errors.Join(err, s.Close())
		}
	}()
	if err == nil {
		err = sleep(ctx, c.settle)
	}
	if err != nil {
		return err
	}
	took := rig.ProcessorTime()
	if err := sleep(ctx, c.duration); err != nil {
		return err
	}
	took = rig.ProcessorTime() - took
	after := countUse(dir)
	for _, s := range stores {
		after.segments += len(s.Stats().Segments)
	}
	each := func(n int) float64 { return float64(n) / float64(len(stores)) }
	fmt.Fprintf(out, "a store: %.2f segments, %.2f descriptors, %.2f mappings, %.2f goroutines\n\n", each(after.segments),
		each(after.descriptors-before.descriptors), each(after.mappings-before.mappings), each(after.goroutines-before.goroutines))
	limits := rig.Limits{Out: out}
	if c.limit == 0 {
		c.limit = math.Inf(1)
	}
	limits.AtMost("processor time, of one processor", took.Seconds()/c.duration.Seconds(), c.limit)
	limits.AtMost("descriptors of a store, without segments", each(after.descriptors-before.descriptors-after.segments-4), 2)
	return limits.Err()
}

// open creates the stores. The stores it returns are open, even if there is an error.
func (c *config) open(ctx context.Context, dir string) (stores []*mmapkv.Store, err error) {
	for i := range c.stores {
		if err := ctx.Err(); err != nil {
			return stores, err
		}
		o := &mmapkv.Options{SegmentSize: 64 << 10}
		o.Compaction.GarbageRatio = 1 // keeps the number of segments
		s, err := mmapkv.Open(filepath.Join(dir, fmt.Sprint(i)), o)
		if err != nil {
			return stores, err
		}
		stores = append(stores, s)
		for key := 0; key < 10 || len(s.Stats().Segments) < c.segments; key++ {
			if err := s.Put(fmt.Append(nil, key), make([]byte, 1000)); err != nil {
				return stores, err
			}
		}
	}
	return stores, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// countUse counts goroutines, open descriptors, and mappings of files below dir.
// Without /proc it counts goroutines only.
func countUse(dir string) (u use) {
	u.goroutines = runtime.NumGoroutine()
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.descriptors = len(names)
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		u.mappings = strings.Count(string(maps), dir)
	}
	return u
}
