package main

import (
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// badgerEngine has the default options, except where the comments of badger.Options
// advise otherwise. It has no compression, since the values are noise, and so no block
// cache: "adding a cache will lead to unnecessary overhead" (WithBlockCacheSize).
// Without DetectConflicts, which no other engine does, it "can process transactions at
// a higher rate". With SyncWrites writes survive power loss; without it "all writes can
// survive process crashes" (WithSyncWrites).
type badgerEngine struct{ db *badger.DB }

func openBadger(dir string, survives workload.Class) (workload.Store, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(survives == workload.PowerLoss).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithLogger(nil))
	if err != nil {
		return nil, err
	}
	return badgerEngine{db}, nil
}

// read calls fn in a new transaction, which a read of the newest value needs.
func (e badgerEngine) read(fn func(tx *badger.Txn) error) error {
	err := e.db.View(fn)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return workload.ErrNotFound
	}
	return err
}

func (e badgerEngine) View(key []byte, fn func(value []byte) error) error {
	return e.read(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if err != nil {
			return err
		}
		return item.Value(fn)
	})
}

func (e badgerEngine) Get(dst, key []byte) ([]byte, error) {
	err := e.View(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, err
}

func (e badgerEngine) Has(key []byte) (bool, error) {
	err := e.read(func(tx *badger.Txn) error {
		_, err := tx.Get(key)
		return err
	})
	if errors.Is(err, workload.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (e badgerEngine) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	return e.read(func(tx *badger.Txn) error {
		for i, key := range keys {
			item, err := tx.Get(key)
			switch {
			case errors.Is(err, badger.ErrKeyNotFound):
				err = fn(i, nil, workload.ErrNotFound)
			case err == nil:
				err = item.Value(func(value []byte) error { return fn(i, value, nil) })
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (e badgerEngine) Put(key, value []byte) error {
	return e.db.Update(func(tx *badger.Txn) error { return tx.Set(key, value) })
}

func (e badgerEngine) Write(pairs []workload.Pair) error {
	return e.db.Update(func(tx *badger.Txn) error {
		for _, p := range pairs {
			if err := tx.Set(p.Key, p.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e badgerEngine) Range(fn func(key, value []byte) error) error {
	return e.Scan(workload.Span{}, fn)
}

func (e badgerEngine) Keys(fn func(key []byte) error) error {
	return e.Scan(workload.Span{KeysOnly: true}, func(key, _ []byte) error { return fn(key) })
}

func (e badgerEngine) Sync() error { return e.db.Sync() }

func (e badgerEngine) Compact(context.Context) error { return e.db.Flatten(compactors) }

func (e badgerEngine) Close() error { return e.db.Close() }

// compactors is how many goroutines compact the tree.
const compactors = 2
