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

// floors measures a workload's floor, and for reads the Go map, right after the
// workload, in the same round.
type floors struct {
	config      workload.Config
	engine      string // after which it is measured
	segmentSize int64
	dir         string // a separate directory
	emit        func(workload.Result)

	goMap workload.Store // nil: not loaded, or dropped
}

// reading are the workloads in which the store and the Go map take turns.
var reading = []string{"view", "get", "has", "zipf", "absent"}

// walking are the workloads of many pairs, whose floor goes through an array of
// locations. The first two also have a Go map, in a turn of its own.
var walking = []string{"keys", "range", "scan", "scan-keys", "scan-reverse", "iterate", "seek", "seek-open"}

// after measures the floor of one workload of the store in dir. A floor that two
// engines share is measured after the first.
func (f *floors) after(ctx context.Context, name, dir string) error {
	if f.engine != every && name != "durable" || f.engine == goMap {
		return nil
	}
	family, phase, _ := strings.Cut(name, "/")
	switch {
	case slices.Contains(reading, name):
		return f.reads(ctx, name, dir)
	case slices.Contains(walking, name):
		f.goMap = nil
		return f.same(ctx, floor.Ordered(), name, dir)
	case name == "put" || name == "batch" || name == "put-latency":
		return f.same(ctx, floor.Writes(f.segmentSize), name, f.dir)
	case name == "load":
		return f.run(ctx, workload.Run, floor.Writes(f.segmentSize), name, f.dir)
	case name == "durable":
		f.config.Durable = []int{1}
		return f.same(ctx, floor.DurableWrites(f.segmentSize), name, f.dir)
	case family == "read-latency" && phase != "":
		return f.readLatency(ctx, phase, dir)
	case name == "compaction":
		return f.copy(ctx, dir)
	}
	f.goMap = nil
	return nil
}

func (f *floors) reads(ctx context.Context, name, dir string) error {
	if name != "absent" {
		if err := f.same(ctx, floor.Reads(), name, dir); err != nil {
			return err
		}
	}
	e := workload.GoMap()
	if f.goMap != nil {
		e.Open = func(string) (workload.Store, error) { return f.goMap, nil }
		return f.same(ctx, e, name, dir)
	}
	open := e.Open
	e.Open = func(dir string) (store workload.Store, err error) {
		f.goMap, err = open(dir)
		return f.goMap, err
	}
	return f.run(ctx, workload.Run, e, name, dir)
}

func (f *floors) readLatency(ctx context.Context, phase, dir string) error {
	return f.inFreshDir(func(own string) error {
		r, err := floor.ReadLatency(ctx, phase, own, dir, f.segmentSize, f.config)
		if err == nil {
			f.emit(r)
		}
		return err
	})
}

// same runs the same workload on a floor, without loading keys.
func (f *floors) same(ctx context.Context, e workload.Engine, name, dir string) error {
	return f.run(ctx, workload.RunLoaded, e, name, dir)
}

// runner is workload.Run or workload.RunLoaded.
type runner func(context.Context, workload.Engine, string, workload.Config, []workload.Workload, func(workload.Result)) error

func (f *floors) run(ctx context.Context, run runner, e workload.Engine, name, dir string) error {
	workloads, err := workload.Select([]string{name})
	if err != nil {
		return err
	}
	c := f.config
	c.Before, c.After = nil, nil
	return run(ctx, e, dir, c, workloads, f.emit)
}

func (f *floors) inFreshDir(fn func(dir string) error) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	return rig.InFreshDir(f.dir, fn)
}

// copy copies the store's segments; its figure is bytes, not operations. If the
// background compacts a segment away during the copy, copy starts again.
func (f *floors) copy(ctx context.Context, dir string) (err error) {
	for range 100 {
		err = f.inFreshDir(func(own string) error { return f.copyTo(ctx, filepath.Join(own, "copy"), dir) })
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return err
}

func (f *floors) copyTo(ctx context.Context, target, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		return err
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimPrefix(path, dir+string(filepath.Separator)))
	}
	slices.Sort(names)
	size, took, err := rig.CopyFiles(ctx, dir, target, names)
	if err != nil {
		return err
	}
	f.emit(workload.Result{Workload: "copy of the segments", Engine: floor.Name,
		Figures: []workload.Figure{{Name: "speed", Value: float64(size) / took.Seconds() / (1 << 20), Unit: "MiB/s"}}})
	return nil
}
