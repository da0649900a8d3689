package main

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// pebbleEngine has the options of pebble's own benchmark command (newPebbleDB in
// cmd/pebble/db.go), but for what is CockroachDB's own there, with blocks of the default
// size and the filter in the last level too, both of which are better for single reads,
// and without compression, which the noise that the values are would not profit from.
//
// Without a sync "a recent write may be lost" with the process, since it is "buffered
// inside the process" (pebble.WriteOptions): less than what the others promise.
type pebbleEngine struct {
	db    *pebble.DB
	write *pebble.WriteOptions
}

// silent is a pebble.Logger.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { pebble.DefaultLogger.Fatalf(format, args...) }

func openPebble(dir string, c class) (engine, error) {
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
	if c == survivesPowerLoss {
		return pebbleEngine{db, pebble.Sync}, nil
	}
	return pebbleEngine{db, pebble.NoSync}, nil
}

func (e pebbleEngine) view(key []byte, fn func(value []byte) error) (bool, error) {
	value, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(fn(value), closer.Close())
}

func (e pebbleEngine) appendGet(dst, key []byte) (out []byte, found bool, err error) {
	value, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, err
	}
	return append(dst, value...), true, closer.Close()
}

func (e pebbleEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	for _, key := range keys {
		if _, err := e.view(key, fn); err != nil {
			return err
		}
	}
	return nil
}

func (e pebbleEngine) put(key, value []byte) error { return e.db.Set(key, value, e.write) }

func (e pebbleEngine) putMany(keys, values [][]byte) (err error) {
	batch := e.db.NewBatch()
	defer func() { err = errors.Join(err, batch.Close()) }()
	for i, key := range keys {
		if err := batch.Set(key, values[i], nil); err != nil {
			return err
		}
	}
	return batch.Commit(e.write)
}

func (e pebbleEngine) each(fn func(key, value []byte) error) (err error) {
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

func (e pebbleEngine) settle() error {
	if err := e.db.Flush(); err != nil {
		return err
	}
	return e.db.Compact(context.Background(), []byte{0}, []byte{0xff}, true)
}

func (e pebbleEngine) close() error { return e.db.Close() }
