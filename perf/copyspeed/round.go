package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// work is how many bytes were processed, and how long it took.
type work struct {
	in, out rig.Bytes
	took    time.Duration
}

// speed is in bytes of input per second.
func (w work) speed() float64 { return float64(w.in) / w.took.Seconds() }

// round fills a store, copies its half dead files, and then compacts it. It leaves
// nothing in dir.
func (c *config) round(ctx context.Context, dir string, data rig.Data) (copied, compacted work, err error) {
	err = rig.InFreshDir(dir, func(dir string) (err error) {
		name := filepath.Join(dir, "store")
		if err := c.fill(ctx, name, data); err != nil {
			return err
		}
		store, err := c.open(name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		size, took, err := rig.CopyFiles(ctx, name, filepath.Join(dir, "copy"), halfDead(store))
		if err != nil {
			return err
		}
		copied = work{size, size, took}
		if compacted, err = compact(ctx, store); err != nil {
			return err
		}
		return data.Verify(ctx, store, nil)
	})
	return copied, compacted, err
}

func (c *config) open(dir string) (*mmapkv.Store, error) {
	store, err := mmapkv.Open(dir, &mmapkv.Options{SegmentSize: int64(c.segment), Compaction: mmapkv.Compaction{Disabled: true}})
	if err != nil {
		return nil, err
	}
	return store, store.Ready(context.Background())
}

// fill makes a store in which every second record of the first fill is dead.
func (c *config) fill(ctx context.Context, dir string, data rig.Data) (err error) {
	store, err := c.open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := data.Load(ctx, store, 1); err != nil {
		return err
	}
	return data.OverwriteEverySecond(ctx, store)
}

// halfDead lists the files that hold garbage worth a compaction.
func halfDead(store *mmapkv.Store) (names []string) {
	for _, s := range store.Stats().Segments {
		if s.DeadBytes > (s.LiveBytes+s.DeadBytes)/16 {
			names = append(names, s.File)
		}
	}
	return names
}

func compact(ctx context.Context, store *mmapkv.Store) (work, error) {
	began := time.Now()
	if err := store.Compact(ctx); err != nil {
		return work{}, err
	}
	took, done := time.Since(began), store.Stats().Compaction
	if done.BytesIn == 0 {
		return work{}, errors.New("there was nothing to compact")
	}
	return work{rig.Bytes(done.BytesIn), rig.Bytes(done.BytesOut), took}, nil
}
