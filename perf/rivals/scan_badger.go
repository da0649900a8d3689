package main

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Scan iterates without PrefetchValues. The values lie in the tree, next to their keys,
// and fetching them ahead, each in a goroutine of its own, takes longer.
func (e badgerEngine) Scan(s workload.Span, fn func(key, value []byte) error) error {
	return e.db.View(func(tx *badger.Txn) error {
		o := badger.IteratorOptions{Reverse: s.Reverse}
		if !s.Reverse { // backward, the seek begins above the keys with the prefix
			o.Prefix = s.Prefix
		}
		it := tx.NewIterator(o)
		defer it.Close()
		from, to := s.Bounds()
		if s.Reverse {
			it.Seek(to)
			if to != nil && it.Valid() && bytes.Equal(it.Item().Key(), to) {
				it.Next()
			}
		} else {
			it.Seek(from)
		}
		for n := 1; it.Valid(); n++ {
			item := it.Item()
			if key := item.Key(); bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
				return nil
			}
			if err := badgerPair(item, s.KeysOnly, fn); err != nil || n == s.Limit {
				return err
			}
			it.Next()
		}
		return nil
	})
}

func badgerPair(item *badger.Item, keysOnly bool, fn func(key, value []byte) error) error {
	if keysOnly {
		return fn(item.Key(), nil)
	}
	return item.Value(func(value []byte) error { return fn(item.Key(), value) })
}

func (e badgerEngine) Cursor() (workload.Cursor, error) {
	tx := e.db.NewTransaction(false)
	return badgerCursor{tx, tx.NewIterator(badger.IteratorOptions{})}, nil
}

type badgerCursor struct {
	tx *badger.Txn
	it *badger.Iterator
}

func (c badgerCursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	for c.it.Seek(key); c.it.Valid(); c.it.Next() {
		if err := badgerPair(c.it.Item(), false, fn); err != nil {
			return err
		}
		if n--; n == 0 {
			return nil
		}
	}
	return nil
}

func (c badgerCursor) Close() error {
	c.it.Close()
	c.tx.Discard()
	return nil
}

func (e badgerEngine) DeleteMany(keys [][]byte) error {
	return e.db.Update(func(tx *badger.Txn) error {
		for _, key := range keys {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}
