package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// work is what was done, in bytes, and how long it took.
type work struct {
	in, out rig.Bytes
	took    time.Duration
}

// speed is in bytes of input a second.
func (w work) speed() float64 { return float64(w.in) / w.took.Seconds() }

// round fills a store, copies its half dead files, and then compacts it. Nothing
// of it stays in dir.
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
		copied, err = copyFiles(ctx, name, filepath.Join(dir, "copy"), halfDead(store))
		if err != nil {
			return err
		}
		if compacted, err = compact(ctx, store); err != nil {
			return err
		}
		return data.Verify(ctx, store, nil)
	})
	return copied, compacted, err
}

func (c *config) open(dir string) (*mmapkv.Store, error) {
	return mmapkv.Open(dir, &mmapkv.Options{SegmentSize: int64(c.segment), Compaction: mmapkv.Compaction{Disabled: true}})
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

// copyFiles copies files to a new directory, each of them durably.
func copyFiles(ctx context.Context, from, to string, names []string) (w work, err error) {
	source, err := vfs.OS().OpenDir(from)
	if err != nil {
		return w, err
	}
	defer source.Close()
	if err := vfs.OS().Mkdir(to); err != nil {
		return w, err
	}
	target, err := vfs.OS().OpenDir(to)
	if err != nil {
		return w, err
	}
	defer target.Close()
	buffer := make([]byte, 1<<20)
	began := time.Now()
	for _, name := range names {
		if ctx.Err() != nil {
			return w, ctx.Err()
		}
		size, err := copyFile(source, target, name, buffer)
		if err != nil {
			return w, fmt.Errorf("copying %s: %w", name, err)
		}
		w.in += rig.Bytes(size)
	}
	w.took, w.out = time.Since(began), w.in
	return w, nil
}

func copyFile(source, target vfs.Dir, name string, buffer []byte) (size int64, err error) {
	in, err := source.OpenReadOnly(name)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := target.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for {
		n, err := in.ReadAt(buffer, size)
		if err != nil && err != io.EOF {
			return size, err
		}
		last := err == io.EOF
		if _, err := vfs.WriteFull(out, buffer[:n], size); err != nil {
			return size, err
		}
		size += int64(n)
		if last {
			return size, out.Datasync()
		}
	}
}
