package main

import (
	"errors"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// goleveldbEngine has the Bloom filter of the README, and a block cache and a memtable
// as large as pebble's instead of the 8 and 4 MiB that are the default; no compression,
// which the noise that the values are would not profit from. It merges concurrent
// writes by itself. WriteOptions.Sync is what survives power loss; without it, "if it is
// just the process that crashes (and the machine does not) then no writes will be lost".
// It has no read without a copy.
type goleveldbEngine struct {
	db    *leveldb.DB
	write *opt.WriteOptions
}

func openGoleveldb(dir string, c class) (engine, error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{
		BlockCacheCapacity: blockCache,
		Compression:        opt.NoCompression,
		Filter:             filter.NewBloomFilter(bitsPerKey),
		WriteBuffer:        memtable,
	})
	if err != nil {
		return nil, err
	}
	return goleveldbEngine{db, &opt.WriteOptions{Sync: c == survivesPowerLoss}}, nil
}

func (e goleveldbEngine) view(key []byte, fn func(value []byte) error) (bool, error) {
	value, err := e.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, fn(value)
}

func (e goleveldbEngine) appendGet(dst, key []byte) (out []byte, found bool, err error) {
	value, err := e.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return dst, false, nil
	}
	return append(dst, value...), err == nil, err
}

func (e goleveldbEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	for _, key := range keys {
		if _, err := e.view(key, fn); err != nil {
			return err
		}
	}
	return nil
}

func (e goleveldbEngine) put(key, value []byte) error { return e.db.Put(key, value, e.write) }

func (e goleveldbEngine) putMany(keys, values [][]byte) error {
	var batch leveldb.Batch
	for i, key := range keys {
		batch.Put(key, values[i])
	}
	return e.db.Write(&batch, e.write)
}

func (e goleveldbEngine) each(fn func(key, value []byte) error) error {
	it := e.db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

func (e goleveldbEngine) settle() error { return e.db.CompactRange(util.Range{}) }

func (e goleveldbEngine) close() error { return e.db.Close() }
