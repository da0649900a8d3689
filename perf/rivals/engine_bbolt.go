package main

import (
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// bboltEngine uses the hashed free list, "faster in almost all circumstances", and does
// not write it with each commit, which "improves the database write performance"
// (comments of bbolt.Options; etcd does both in server/storage/backend). It does not
// sync if nothing has to survive power loss (NoSync; a commit is written with pwrite,
// and survives a kill). Several durable writers use DB.Batch, as the README advises in
// "Batch read-write transactions", with MaxBatchSize equal to the number of writers, so
// that a batch never waits for its MaxBatchDelay of 10 ms.
type bboltEngine struct {
	db      *bbolt.DB
	batches bool
}

var bboltBucket = []byte("data")

func openBbolt(dir string, survives workload.Class) (workload.Store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "data.db"), 0o600, &bbolt.Options{
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true,
		NoSync:         survives == workload.Kill,
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bboltBucket)
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return &bboltEngine{db: db}, nil
}

func (e *bboltEngine) expectWriters(n int) {
	e.batches = n > 1
	e.db.MaxBatchSize = n
}

// read calls fn with the bucket in a new transaction, which a read of the newest value
// needs.
func (e *bboltEngine) read(fn func(bucket *bbolt.Bucket) error) error {
	return e.db.View(func(tx *bbolt.Tx) error { return fn(tx.Bucket(bboltBucket)) })
}

func (e *bboltEngine) View(key []byte, fn func(value []byte) error) error {
	return e.read(func(bucket *bbolt.Bucket) error {
		value := bucket.Get(key)
		if value == nil {
			return workload.ErrNotFound
		}
		return fn(value)
	})
}

func (e *bboltEngine) Get(dst, key []byte) ([]byte, error) {
	err := e.View(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, err
}

func (e *bboltEngine) Has(key []byte) (has bool, err error) {
	err = e.read(func(bucket *bbolt.Bucket) error {
		has = bucket.Get(key) != nil
		return nil
	})
	return has, err
}

func (e *bboltEngine) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	return e.read(func(bucket *bbolt.Bucket) error {
		for i, key := range keys {
			var missing error
			value := bucket.Get(key)
			if value == nil {
				missing = workload.ErrNotFound
			}
			if err := fn(i, value, missing); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *bboltEngine) Put(key, value []byte) error {
	put := func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).Put(key, value) }
	if e.batches {
		return e.db.Batch(put)
	}
	return e.db.Update(put)
}

func (e *bboltEngine) Write(pairs []workload.Pair) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bboltBucket)
		for _, p := range pairs {
			if err := bucket.Put(p.Key, p.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *bboltEngine) Range(fn func(key, value []byte) error) error {
	return e.read(func(bucket *bbolt.Bucket) error { return bucket.ForEach(fn) })
}

func (e *bboltEngine) Keys(fn func(key []byte) error) error {
	return e.Range(func(key, _ []byte) error { return fn(key) })
}

func (e *bboltEngine) Sync() error { return e.db.Sync() }

func (e *bboltEngine) Close() error { return e.db.Close() }
