package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mmapkv/mmapkv/perf/internal/floor"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// floors measures a workload's floor right behind it, in the same round.
type floors struct {
	config      workload.Config
	engine      string // behind which it is measured
	segmentSize int64
	dir         string // of its own
	emit        func(workload.Result)
}

// behind measures the floor of one workload of the store in dir. A floor that two
// engines have in common is measured behind the first.
func (f *floors) behind(ctx context.Context, name, dir string) error {
	if f.engine != every && name != "durable" || f.engine == goMap {
		return nil
	}
	switch name {
	case "view", "get", "has", "zipf":
		return f.same(ctx, floor.Reads(), name, dir)
	case "put", "batch", "put-latency":
		return f.same(ctx, floor.Writes(f.segmentSize), name, f.dir)
	case "load":
		return f.load(ctx)
	case "durable":
		f.config.Durable = []int{1}
		return f.same(ctx, floor.DurableWrites(f.segmentSize), name, f.dir)
	case "read-latency":
		return f.inFreshDir(func(own string) error {
			return floor.ReadLatency(ctx, own, dir, f.segmentSize, f.config, f.emit)
		})
	case "compaction":
		return f.copy(ctx, dir)
	}
	return nil
}

// same runs the same workload with the floor.
func (f *floors) same(ctx context.Context, e workload.Engine, name, dir string) error {
	workloads, err := workload.Select([]string{name})
	if err != nil {
		return err
	}
	c := f.config
	c.Before, c.After = nil, nil
	return workload.RunLoaded(ctx, e, dir, c, workloads, f.emit)
}

func (f *floors) load(ctx context.Context) error {
	workloads, err := workload.Select([]string{"load"})
	if err != nil {
		return err
	}
	c := f.config
	c.Before, c.After = nil, nil
	return workload.Run(ctx, floor.Writes(f.segmentSize), f.dir, c, workloads, f.emit)
}

func (f *floors) inFreshDir(fn func(dir string) error) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	return rig.InFreshDir(f.dir, fn)
}

// copy copies the store's segments; it shows bytes, not operations.
func (f *floors) copy(ctx context.Context, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		return err
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimPrefix(path, dir+string(filepath.Separator)))
	}
	slices.Sort(names)
	return f.inFreshDir(func(own string) error {
		size, took, err := rig.CopyFiles(ctx, dir, filepath.Join(own, "copy"), names)
		if errors.Is(err, os.ErrNotExist) {
			return nil // the background has compacted one away
		}
		if err != nil {
			return err
		}
		f.emit(workload.Result{Workload: "copy of the segments", Engine: floor.Name,
			Figures: []workload.Figure{{Name: "speed", Value: float64(size) / took.Seconds() / (1 << 20), Unit: "MiB/s"}}})
		return nil
	})
}
