package workload

import (
	"context"
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// MMapKV is the store that all this is about. The options are copied.
func MMapKV(name string, options mmapkv.Options) Engine {
	survives := Kill
	if options.Sync == fsync.Always {
		survives = PowerLoss
	}
	return Engine{
		Name:     name,
		Survives: survives,
		Settings: fmt.Sprintf("Sync: %v, SegmentSize: %d, SkipReadChecksum: %v, Compaction.Disabled: %v",
			options.Sync, options.SegmentSize, options.SkipReadChecksum, options.Compaction.Disabled),
		Open: func(dir string) (Store, error) {
			store, err := mmapkv.Open(dir, &options)
			if err != nil {
				return nil, err
			}
			return &mapped{store}, nil
		},
	}
}

// mapped makes a Store of mmapkv's.
type mapped struct{ *mmapkv.Store }

func (m *mapped) Write(pairs []Pair) error {
	var batch mmapkv.Batch
	for _, p := range pairs {
		batch.Put(p.Key, p.Value)
	}
	return m.Store.Write(&batch)
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

func (m *mapped) IndexBytes() int64 { return m.Stats().IndexBytes }

// translated costs nothing where there is no error.
func translated(err error) error {
	if err != nil && errors.Is(err, mmapkv.ErrNotFound) {
		return ErrNotFound
	}
	return err
}
