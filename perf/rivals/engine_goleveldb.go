package main

import (
	"context"
	"errors"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// goleveldbEngine has the Bloom filter of the README, and a block cache and a memtable
// as large as pebble's instead of the defaults of 8 and 4 MiB. It has no compression,
// since the values are noise. It merges concurrent writes by itself. With
// WriteOptions.Sync writes survive power loss; without it, "if it is just the process
// that crashes (and the machine does not) then no writes will be lost". It cannot read
// without a copy.
type goleveldbEngine struct {
	db    *leveldb.DB
	write *opt.WriteOptions
}

func openGoleveldb(dir string, survives workload.Class) (workload.Store, error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{
		BlockCacheCapacity: blockCache,
		Compression:        opt.NoCompression,
		Filter:             filter.NewBloomFilter(bitsPerKey),
		WriteBuffer:        memtable,
	})
	if err != nil {
		return nil, err
	}
	return goleveldbEngine{db, &opt.WriteOptions{Sync: survives == workload.PowerLoss}}, nil
}

func (e goleveldbEngine) View(key []byte, fn func(value []byte) error) error {
	value, err := e.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return workload.ErrNotFound
	}
	if err != nil {
		return err
	}
	return fn(value)
}

func (e goleveldbEngine) Get(dst, key []byte) ([]byte, error) {
	err := e.View(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, err
}

func (e goleveldbEngine) Has(key []byte) (bool, error) { return e.db.Has(key, nil) }

func (e goleveldbEngine) Put(key, value []byte) error { return e.db.Put(key, value, e.write) }

func (e goleveldbEngine) Write(pairs []workload.Pair) error {
	var batch leveldb.Batch
	for _, p := range pairs {
		batch.Put(p.Key, p.Value)
	}
	return e.db.Write(&batch, e.write)
}

func (e goleveldbEngine) Range(fn func(key, value []byte) error) error {
	it := e.db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

func (e goleveldbEngine) Keys(fn func(key []byte) error) error {
	return e.Range(func(key, _ []byte) error { return fn(key) })
}

// Sync is not supported: goleveldb syncs only with a write.
func (e goleveldbEngine) Sync() error { return errors.ErrUnsupported }

func (e goleveldbEngine) Compact(context.Context) error { return e.db.CompactRange(util.Range{}) }

func (e goleveldbEngine) Close() error { return e.db.Close() }
