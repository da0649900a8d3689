package main

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Scan moves a cursor, which is how the README iterates ("Range scans", "Prefix
// scans").
func (e *bboltEngine) Scan(s workload.Span, fn func(key, value []byte) error) error {
	return e.read(func(bucket *bbolt.Bucket) error {
		c := bucket.Cursor()
		if s.Reverse {
			return bboltBackward(c, s, fn)
		}
		from, to := s.Bounds()
		key, value := c.Seek(from)
		for n := 1; key != nil && (to == nil || bytes.Compare(key, to) < 0); n++ {
			if s.KeysOnly {
				value = nil
			}
			if err := fn(key, value); err != nil || n == s.Limit {
				return err
			}
			key, value = c.Next()
		}
		return nil
	})
}

func bboltBackward(c *bbolt.Cursor, s workload.Span, fn func(key, value []byte) error) error {
	from, to := s.Bounds()
	key, value := bboltBelow(c, to)
	for n := 1; key != nil && bytes.Compare(key, from) >= 0; n++ {
		if s.KeysOnly {
			value = nil
		}
		if err := fn(key, value); err != nil || n == s.Limit {
			return err
		}
		key, value = c.Prev()
	}
	return nil
}

// bboltBelow moves to the highest key below a bound.
func bboltBelow(c *bbolt.Cursor, to []byte) (key, value []byte) {
	if to != nil {
		if key, _ := c.Seek(to); key != nil {
			return c.Prev()
		}
	}
	return c.Last()
}

func (e *bboltEngine) Cursor() (workload.Cursor, error) {
	tx, err := e.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return bboltCursor{tx, tx.Bucket(bboltBucket).Cursor()}, nil
}

type bboltCursor struct {
	tx     *bbolt.Tx
	cursor *bbolt.Cursor
}

func (c bboltCursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	key, value := c.cursor.Seek(key)
	for key != nil {
		if err := fn(key, value); err != nil {
			return err
		}
		if n--; n == 0 {
			return nil
		}
		key, value = c.cursor.Next()
	}
	return nil
}

func (c bboltCursor) Close() error { return c.tx.Rollback() }

func (e *bboltEngine) DeleteMany(keys [][]byte) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bboltBucket)
		for _, key := range keys {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}
