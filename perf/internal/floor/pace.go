package floor

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// ReadLatency measures the delays that the machine and the scheduler cause in a loop
// that does nothing at a fixed rate, in a phase of the workload read-latency: alone;
// beside a goroutine that does a writer's pwrites; or beside that and a goroutine that
// works like a compaction without pause. It creates files in dir, and reads those of a
// store in from.
func ReadLatency(ctx context.Context, phase, dir, from string, fileSize int64, c workload.Config) (workload.Result, error) {
	writer := func(ctx context.Context) error { return writeUntil(ctx, dir, fileSize, c) }
	compactor := func(ctx context.Context) error { return copyUntil(ctx, dir, from) }
	var others []func(context.Context) error
	switch phase {
	case "writer":
		others = append(others, writer)
	case "writer+compaction":
		others = append(others, writer, compactor)
	}
	var r workload.Result
	err := workload.Beside(ctx, func() (err error) {
		r, err = workload.Pace(ctx, c.Rate, c.Phase, 1, func(int) func() error { return func() error { return nil } })
		return err
	}, others...)
	r.Workload, r.Engine = "read-latency/"+phase, Name
	return r, err
}

// writeUntil does a writer's pwrites until the context ends.
func writeUntil(ctx context.Context, dir string, fileSize int64, c workload.Config) (err error) {
	w, err := openWrites(dir, fileSize, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	value := make([]byte, c.ValueSize)
	var key []byte
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		key = c.AppendKey(key[:0], n%c.Keys)
		c.Fill(value, n%c.Keys, uint64(n))
		if err := w.Put(key, value); err != nil {
			return err
		}
		if c.WriterRate > 0 {
			time.Sleep(time.Duration(n)*time.Second/time.Duration(c.WriterRate) - time.Since(began))
		}
	}
	return nil
}

// piece is how much a copy reads at a time.
const piece = 16 << 10

// copyUntil reads files, checksums them and writes them to another file, in slices as
// a compaction does, over and over until the context ends.
func copyUntil(ctx context.Context, dir, from string) (err error) {
	names, err := filepath.Glob(filepath.Join(from, "*.seg"))
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(dir, "copy-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close(), os.Remove(out.Name())) }()
	napper := nap.New()
	defer napper.Close()
	c := copier{out: out, napper: napper, buffer: make([]byte, piece)}
	for ctx.Err() == nil {
		for _, name := range names {
			if err := c.copy(ctx, name); err != nil {
				return err
			}
		}
		if err := out.Truncate(0); err != nil {
			return err
		}
		c.end = 0
	}
	return nil
}

type copier struct {
	out    *os.File
	end    int64
	napper *nap.Napper
	buffer []byte
	sum    uint32
}

func (c *copier) copy(ctx context.Context, name string) error {
	in, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // compacted away
	}
	if err != nil {
		return err
	}
	defer in.Close()
	for ctx.Err() == nil {
		n, err := in.Read(c.buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.sum = crc32.Update(c.sum, crc32.MakeTable(crc32.Castagnoli), c.buffer[:n])
		if _, err := c.out.WriteAt(c.buffer[:n], c.end); err != nil {
			return err
		}
		c.end += int64(n)
		c.napper.StepAside(true)
	}
	return nil
}
