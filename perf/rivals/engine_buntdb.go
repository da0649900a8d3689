package main

import (
	"context"
	"errors"
	"path/filepath"
	"unsafe"

	"github.com/tidwall/buntdb"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// buntdbEngine keeps everything in memory and logs the writes. It has the default
// configuration except for the policy ("Durability and fsync" in its README): Always if
// writes have to survive power loss, otherwise Never. Both write each commit to the
// file.
type buntdbEngine struct{ db *buntdb.DB }

func openBuntdb(dir string, survives workload.Class) (_ workload.Store, err error) {
	db, err := buntdb.Open(filepath.Join(dir, "data.aof"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	var config buntdb.Config
	if err := db.ReadConfig(&config); err != nil {
		return nil, err
	}
	config.SyncPolicy = buntdb.Never
	if survives == workload.PowerLoss {
		config.SyncPolicy = buntdb.Always
	}
	if err := db.SetConfig(config); err != nil {
		return nil, err
	}
	return buntdbEngine{db}, nil
}

// bytesOf and stringOf convert without a copy. Nobody writes to the result of bytesOf,
// and the result of stringOf is only used during one lookup.
func bytesOf(s string) []byte  { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// value looks a key up in a transaction.
func value(tx *buntdb.Tx, key []byte) ([]byte, error) {
	value, err := tx.Get(stringOf(key))
	if errors.Is(err, buntdb.ErrNotFound) {
		err = workload.ErrNotFound
	}
	return bytesOf(value), err
}

func (e buntdbEngine) View(key []byte, fn func(value []byte) error) error {
	return e.db.View(func(tx *buntdb.Tx) error {
		value, err := value(tx, key)
		if err != nil {
			return err
		}
		return fn(value)
	})
}

func (e buntdbEngine) Get(dst, key []byte) ([]byte, error) {
	err := e.View(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, err
}

func (e buntdbEngine) Has(key []byte) (bool, error) {
	err := e.View(key, func([]byte) error { return nil })
	if errors.Is(err, workload.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (e buntdbEngine) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	return e.db.View(func(tx *buntdb.Tx) error {
		for i, key := range keys {
			value, err := value(tx, key)
			if err := fn(i, value, err); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e buntdbEngine) Put(key, value []byte) error {
	return e.db.Update(func(tx *buntdb.Tx) error {
		_, _, err := tx.Set(string(key), string(value), nil)
		return err
	})
}

func (e buntdbEngine) Write(pairs []workload.Pair) error {
	return e.db.Update(func(tx *buntdb.Tx) error {
		for _, p := range pairs {
			if _, _, err := tx.Set(string(p.Key), string(p.Value), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e buntdbEngine) Range(fn func(key, value []byte) error) error {
	return e.db.View(func(tx *buntdb.Tx) (err error) {
		walked := tx.Ascend("", func(key, value string) bool {
			err = fn(bytesOf(key), bytesOf(value))
			return err == nil
		})
		return errors.Join(err, walked)
	})
}

func (e buntdbEngine) Keys(fn func(key []byte) error) error {
	return e.Range(func(key, _ []byte) error { return fn(key) })
}

// Sync is not supported: buntdb syncs only with a write.
func (e buntdbEngine) Sync() error { return errors.ErrUnsupported }

// Compact does nothing if the background is already compacting.
func (e buntdbEngine) Compact(context.Context) error {
	err := e.db.Shrink()
	if errors.Is(err, buntdb.ErrShrinkInProcess) {
		return nil
	}
	return err
}

func (e buntdbEngine) Close() error { return e.db.Close() }
