package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// MMapKV is the engine that opens a mmapkv store.
func MMapKV(name string, options mmapkv.Options) Engine {
	survives := Kill
	if options.Sync == fsync.Always {
		survives = PowerLoss
	}
	quiet := options
	quiet.Compaction.Disabled = true
	return Engine{
		Name:      name,
		Survives:  survives,
		Settings:  fmt.Sprintf("Sync: %v, SegmentSize: %d, SkipReadChecksum: %v", options.Sync, options.SegmentSize, options.SkipReadChecksum),
		Open:      func(dir string) (Store, error) { return openMapped(dir, &options) },
		OpenQuiet: func(dir string) (Store, error) { return openMapped(dir, &quiet) },
	}
}

// mapped adapts a mmapkv.Store to Store.
type mapped struct {
	*mmapkv.Store
	batches sync.Pool // of *mmapkv.Batch
}

func openMapped(dir string, options *mmapkv.Options) (Store, error) {
	store, err := mmapkv.Open(dir, options)
	if err != nil {
		return nil, err
	}
	return &mapped{Store: store, batches: sync.Pool{New: func() any { return new(mmapkv.Batch) }}}, nil
}

func (m *mapped) Write(pairs []Pair) error {
	batch := m.batches.Get().(*mmapkv.Batch)
	defer m.batches.Put(batch)
	batch.Reset()
	for _, p := range pairs {
		batch.Put(p.Key, p.Value)
	}
	return m.Store.Write(batch)
}

func (m *mapped) Get(dst, key []byte) ([]byte, error) {
	value, err := m.AppendGet(dst, key)
	return value, translated(err)
}

func (m *mapped) View(key []byte, fn func(value []byte) error) error {
	return translated(m.Store.View(key, fn))
}

func (m *mapped) Keys(fn func(key []byte) error) error {
	for key := range m.Store.Keys() {
		if err := fn(key); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapped) Compact(ctx context.Context) error { return m.Store.Compact(ctx) }

func (m *mapped) WriteStall() time.Duration { return m.Stats().WriteStall }

func (m *mapped) IndexBytes() int64 { return m.Stats().IndexBytes }

// translated maps mmapkv.ErrNotFound to ErrNotFound; without an error it costs
// nothing.
func translated(err error) error {
	if err != nil && errors.Is(err, mmapkv.ErrNotFound) {
		return ErrNotFound
	}
	return err
}
