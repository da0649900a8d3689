package main

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// badgerEngine has the default options, but for what the comments of badger.Options
// advise. Without compression, which the noise that the values are would not profit
// from, there is no block cache either: "adding a cache will lead to unnecessary
// overhead" (WithBlockCacheSize). Without DetectConflicts, which no other engine does,
// it "can process transactions at a higher rate". SyncWrites is what survives power
// loss; without it "all writes can survive process crashes" (WithSyncWrites).
type badgerEngine struct{ db *badger.DB }

func openBadger(dir string, c class) (engine, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(c == survivesPowerLoss).
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

func (e badgerEngine) view(key []byte, fn func(value []byte) error) (found bool, err error) {
	err = e.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if err != nil {
			return err
		}
		found = true
		return item.Value(fn)
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return found, err
}

func (e badgerEngine) appendGet(dst, key []byte) (out []byte, found bool, err error) {
	found, err = e.view(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, found, err
}

func (e badgerEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	return e.db.View(func(tx *badger.Txn) error {
		for _, key := range keys {
			item, err := tx.Get(key)
			if err != nil {
				return err
			}
			if err := item.Value(fn); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e badgerEngine) put(key, value []byte) error {
	return e.db.Update(func(tx *badger.Txn) error { return tx.Set(key, value) })
}

func (e badgerEngine) putMany(keys, values [][]byte) error {
	return e.db.Update(func(tx *badger.Txn) error {
		for i, key := range keys {
			if err := tx.Set(key, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e badgerEngine) each(fn func(key, value []byte) error) error {
	return e.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			if err := item.Value(func(value []byte) error { return fn(item.Key(), value) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e badgerEngine) settle() error { return e.db.Flatten(compactors) }

func (e badgerEngine) close() error { return e.db.Close() }

// compactors is how many goroutines settle a log-structured tree.
const compactors = 2
