//go:build linux

// Command littlememory measures reads of a store that is larger than the memory limit
// of its process.
//
//	go run ./perf/littlememory
//	go run ./perf/littlememory -limit 32MiB -times 4 -duration 2s
//
// The process runs in its own control group (which takes root); pages of the files
// count towards the group's limit. Several goroutines read random keys in three ways:
// a bare pread of as many bytes from a random place in the segments, which shows what
// the disk and the kernel can do; Get; and View. Beside them a goroutine waits for
// ticks of a millisecond. Late ticks show that a read from the disk delays unrelated
// goroutines, as a page fault on mapped memory would: it holds a processor of the
// runtime, which no other goroutine can use.
//
// It fails if a read does not find its key's value. With -check it also fails if Get
// or View reach less than nine tenths of pread's rate, or if a tick beside them is
// late by more than 20 ms and by more than beside pread.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/memgroup"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// groupVariable is the environment variable with the control group that a child joins.
const groupVariable = "MMAPKV_PERF_GROUP"

const (
	minRate      = 0.9                   // of pread's rate
	maxTickDelay = 20 * time.Millisecond // beside reads
)

func main() {
	rig.Main(func(ctx context.Context, arguments []string, out io.Writer) error {
		c, err := parse(arguments, out)
		if err != nil {
			return err
		}
		if group := os.Getenv(groupVariable); group != "" {
			if err := memgroup.Join(group); err != nil {
				return err
			}
			return c.run(ctx, out)
		}
		return c.inGroup(ctx, arguments, out)
	})
}

type config struct {
	limit    rig.Bytes
	times    int // as much data as memory
	data     rig.Data
	readers  int
	duration time.Duration
	parent   string
	check    bool
	seed     uint64
}

func parse(arguments []string, out io.Writer) (config, error) {
	c := config{limit: 64 << 20}
	flags := flag.NewFlagSet("littlememory", flag.ContinueOnError)
	flags.Var(&c.limit, "limit", "`size` of the memory")
	flags.IntVar(&c.times, "times", 4, "how many `times` as much data as memory")
	flags.IntVar(&c.data.ValueSize, "value", 1024, "size of a value in `bytes`")
	flags.IntVar(&c.readers, "readers", 4, "`goroutines` that read")
	flags.DurationVar(&c.duration, "duration", 10*time.Second, "how long each phase takes")
	flags.StringVar(&c.parent, "dir", "/var/tmp", "create a fresh directory in this `directory`, which must be on a disk")
	flags.BoolVar(&c.check, "check", false, "fail if a bound is broken")
	flags.Uint64Var(&c.seed, "seed", 1, "`seed` of the random keys")
	if err := rig.Parse(flags, arguments, out); err != nil {
		return c, err
	}
	if c.times < 1 || c.readers < 1 || c.duration <= 0 || c.limit < 1<<20 {
		return c, fmt.Errorf("%w: %d times %v, %d readers, %v", rig.ErrUsage, c.times, c.limit, c.readers, c.duration)
	}
	c.data.Keys = c.times * int(c.limit) / (rig.KeySize + max(c.data.ValueSize, 1))
	return c, c.data.Check()
}

// inGroup runs the command again in a process of a new group.
func (c config) inGroup(ctx context.Context, arguments []string, out io.Writer) (err error) {
	group, err := memgroup.New(int64(c.limit))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, memgroup.Remove(group)) }()
	child := exec.CommandContext(ctx, "/proc/self/exe", arguments...)
	child.Env = append(os.Environ(), groupVariable+"="+group)
	child.Stdout, child.Stderr = out, os.Stderr
	return child.Run()
}

// run measures in the current process.
func (c config) run(ctx context.Context, out io.Writer) error {
	return rig.InFreshDir(c.parent, func(dir string) (err error) {
		fmt.Fprintf(out, "%d keys, values of %d bytes, %d times %v of memory, %d readers, phases of %v, seed %d\n%s\n\n",
			c.data.Keys, c.data.ValueSize, c.times, c.limit, c.readers, c.duration, c.seed, rig.Setting(dir))
		options := &mmapkv.Options{SegmentSize: max(int64(c.limit)/4, 1<<20), Sync: fsync.Every(200 * time.Millisecond)}
		store, err := mmapkv.Open(dir, options)
		if err != nil {
			return err
		}
		err = c.data.Load(ctx, store, 1)
		if err = errors.Join(err, store.Close()); err != nil {
			return err
		}
		if store, err = mmapkv.Open(dir, options); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		files, err := openSegments(dir)
		if err != nil {
			return err
		}
		defer files.close()
		return c.measure(ctx, store, files, out)
	})
}

// reader reads a random key; each goroutine has its own buffer.
type reader func(random *rand.Rand, buffer []byte) error

func (c config) measure(ctx context.Context, store *mmapkv.Store, files segments, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "read by\ta second\tp50\tp99\tp99.9\tlatest tick\t")
	var results []result
	for _, phase := range []struct {
		name string
		read reader
	}{
		{"pread", func(random *rand.Rand, buffer []byte) error {
			return files.readAny(random, buffer[:c.data.ValueSize])
		}},
		{"Get", func(random *rand.Rand, buffer []byte) error {
			i := random.IntN(c.data.Keys)
			value, err := store.AppendGet(buffer[:0], rig.AppendKey(nil, i))
			if err != nil {
				return err
			}
			return c.data.CheckValue(i, value)
		}},
		{"View", func(random *rand.Rand, _ []byte) error {
			i := random.IntN(c.data.Keys)
			return store.View(rig.AppendKey(nil, i), func(value []byte) error { return c.data.CheckValue(i, value) })
		}},
	} {
		r, err := c.phase(ctx, phase.read)
		if err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		results = append(results, r)
		at := func(percent float64) time.Duration { return time.Duration(r.latency.ValueAtPercentile(percent)) }
		fmt.Fprintf(table, "%s\t%.0f\t%v\t%v\t%v\t%v\t\n", phase.name, r.rate, at(50), at(99), at(99.9), r.latest.Round(10*time.Microsecond))
	}
	table.Flush()
	if !c.check {
		return nil
	}
	fmt.Fprintln(out)
	limits := rig.Limits{Out: out}
	bare := results[0]
	for i, name := range []string{"Get", "View"} {
		r := results[i+1]
		limits.AtLeast(name+" / pread", r.rate/bare.rate, minRate)
		limits.AtMost("latest tick beside "+name+", in ms", r.latest.Seconds()*1000, max(maxTickDelay, bare.latest).Seconds()*1000)
	}
	return limits.Err()
}

type result struct {
	rate    float64 // reads a second
	latency *hdrhistogram.Histogram
	latest  time.Duration // the longest delay of a tick
}

// phase runs all readers for the duration.
func (c config) phase(ctx context.Context, read reader) (result, error) {
	runtime.GC()
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex // guards r and failed
	r := result{latency: newHistogram()}
	var failed error
	var end atomic.Bool
	ticks := make(chan time.Duration)
	go func() { ticks <- watchTicks(&end) }()
	began := time.Now()
	for n := range c.readers {
		group.Go(func() {
			latency := newHistogram()
			err := c.readUntil(ctx, read, rand.New(rand.NewPCG(c.seed, uint64(n))), latency)
			mu.Lock()
			defer mu.Unlock()
			r.latency.Merge(latency)
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	r.rate = float64(r.latency.TotalCount()) / time.Since(began).Seconds()
	end.Store(true)
	r.latest = <-ticks
	return r, failed
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Hour), 3) }

func (c config) readUntil(ctx context.Context, read reader, random *rand.Rand, latency *hdrhistogram.Histogram) error {
	buffer := make([]byte, c.data.ValueSize)
	for ctx.Err() == nil {
		began := time.Now()
		if err := read(random, buffer); err != nil {
			return err
		}
		if err := latency.RecordValue(int64(time.Since(began))); err != nil {
			return err
		}
	}
	return nil
}

// watchTicks waits for ticks of a millisecond, and returns the longest delay of one.
func watchTicks(end *atomic.Bool) (latest time.Duration) {
	const tick = time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); !end.Load(); {
		<-ticker.C
		now := time.Now()
		latest = max(latest, now.Sub(last)-tick)
		last = now
	}
	return latest
}

// segments are the files of a store.
type segments []*os.File

func openSegments(dir string) (list segments, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			list.close()
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

func (s segments) close() {
	for _, f := range s {
		f.Close()
	}
}

// readAny fills the buffer from a random place in a random file.
func (s segments) readAny(random *rand.Rand, buffer []byte) error {
	f := s[random.IntN(len(s))]
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.ReadAt(buffer, random.Int64N(max(info.Size()-int64(len(buffer)), 1)))
	return err
}
