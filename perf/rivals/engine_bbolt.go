package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// bboltEngine takes the hashed free list, "faster in almost all circumstances", does
// not write it with each commit, which "improves the database write performance"
// (comments of bbolt.Options; etcd does both, its server/storage/backend), and does
// not sync where nothing has to survive power loss (NoSync; a commit is written with
// pwrite, and survives a kill). Several durable writers use DB.Batch, as the README
// says in "Batch read-write transactions", with MaxBatchSize as many as there are, so
// that a batch never waits for its MaxBatchDelay of 10 ms.
type bboltEngine struct {
	db      *bbolt.DB
	batches bool
}

var bboltBucket = []byte("data")

func openBbolt(dir string, c class) (engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "data.db"), 0o600, &bbolt.Options{
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true,
		NoSync:         c == survivesKill,
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

func (e *bboltEngine) view(key []byte, fn func(value []byte) error) (found bool, err error) {
	err = e.db.View(func(tx *bbolt.Tx) error {
		value := tx.Bucket(bboltBucket).Get(key)
		if value == nil {
			return nil
		}
		found = true
		return fn(value)
	})
	return found, err
}

func (e *bboltEngine) appendGet(dst, key []byte) (out []byte, found bool, err error) {
	found, err = e.view(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, found, err
}

func (e *bboltEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	return e.db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bboltBucket)
		for _, key := range keys {
			if err := fn(bucket.Get(key)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *bboltEngine) put(key, value []byte) error {
	put := func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).Put(key, value) }
	if e.batches {
		return e.db.Batch(put)
	}
	return e.db.Update(put)
}

func (e *bboltEngine) putMany(keys, values [][]byte) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bboltBucket)
		for i, key := range keys {
			if err := bucket.Put(key, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *bboltEngine) each(fn func(key, value []byte) error) error {
	return e.db.View(func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).ForEach(fn) })
}

// settle has nothing to do: the tree is always as it will be.
func (e *bboltEngine) settle() error { return nil }

func (e *bboltEngine) close() error { return e.db.Close() }
