package main

import (
	"context"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// pebbleEngine has the options of pebble's own benchmark command (newPebbleDB in
// cmd/pebble/db.go), without those specific to CockroachDB. Blocks have the default
// size and the last level has a filter too; both are better for single reads. It has no
// compression, since the values are noise.
//
// Without a sync "a recent write may be lost" with the process, since it is "buffered
// inside the process" (pebble.WriteOptions): pebble promises less than the others.
type pebbleEngine struct {
	db    *pebble.DB
	write *pebble.WriteOptions
}

// silent is a pebble.Logger.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { pebble.DefaultLogger.Fatalf(format, args...) }

func openPebble(dir string, survives workload.Class) (workload.Store, error) {
	o := &pebble.Options{
		CacheSize:                   blockCache,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                16384,
		MemTableSize:                memtable,
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 3 },
		Logger:                      silent{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bitsPerKey)
		o.Levels[i].FilterType = pebble.TableFilter
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, err
	}
	if survives == workload.PowerLoss {
		return pebbleEngine{db, pebble.Sync}, nil
	}
	return pebbleEngine{db, pebble.NoSync}, nil
}

// get returns a value that is valid until the closer is closed.
func (e pebbleEngine) get(key []byte) (value []byte, closer io.Closer, err error) {
	value, closer, err = e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		err = workload.ErrNotFound
	}
	return value, closer, err
}

func (e pebbleEngine) View(key []byte, fn func(value []byte) error) error {
	value, closer, err := e.get(key)
	if err != nil {
		return err
	}
	return errors.Join(fn(value), closer.Close())
}

func (e pebbleEngine) Get(dst, key []byte) ([]byte, error) {
	value, closer, err := e.get(key)
	if err != nil {
		return dst, err
	}
	return append(dst, value...), closer.Close()
}

func (e pebbleEngine) Has(key []byte) (bool, error) {
	_, closer, err := e.get(key)
	if errors.Is(err, workload.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

func (e pebbleEngine) Put(key, value []byte) error { return e.db.Set(key, value, e.write) }

func (e pebbleEngine) Write(pairs []workload.Pair) (err error) {
	batch := e.db.NewBatch()
	defer func() { err = errors.Join(err, batch.Close()) }()
	for _, p := range pairs {
		if err := batch.Set(p.Key, p.Value, nil); err != nil {
			return err
		}
	}
	return batch.Commit(e.write)
}

func (e pebbleEngine) Range(fn func(key, value []byte) error) (err error) {
	it, err := e.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

func (e pebbleEngine) Keys(fn func(key []byte) error) error {
	return e.Range(func(key, _ []byte) error { return fn(key) })
}

// Sync syncs an empty log entry, which waits for all writes before it.
func (e pebbleEngine) Sync() error { return e.db.LogData(nil, pebble.Sync) }

// Compact covers all possible keys: they begin with a hexadecimal digit.
func (e pebbleEngine) Compact(ctx context.Context) error {
	if err := e.db.Flush(); err != nil {
		return err
	}
	return e.db.Compact(ctx, []byte{0}, []byte{0xff}, true)
}

func (e pebbleEngine) Close() error { return e.db.Close() }
