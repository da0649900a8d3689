package main

import (
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Scan iterates over a range, as the README does.
func (e goleveldbEngine) Scan(s workload.Span, fn func(key, value []byte) error) error {
	from, to := s.Bounds()
	it := e.db.NewIterator(&util.Range{Start: from, Limit: to}, nil)
	defer it.Release()
	valid, step := false, it.Next
	if s.Reverse {
		valid, step = it.Last(), it.Prev
	} else {
		valid = it.First()
	}
	return goleveldbPairs(it, valid, step, s.KeysOnly, s.Limit, fn)
}

// goleveldbPairs calls fn with the pairs from where the iterator stands, n at most; 0:
// all.
func goleveldbPairs(it iterator.Iterator, valid bool, step func() bool, keysOnly bool, n int, fn func(key, value []byte) error) error {
	for ; valid; valid = step() {
		var value []byte
		if !keysOnly {
			value = it.Value()
		}
		if err := fn(it.Key(), value); err != nil {
			return err
		}
		if n--; n == 0 {
			return nil
		}
	}
	return it.Error()
}

func (e goleveldbEngine) Cursor() (workload.Cursor, error) {
	return goleveldbCursor{e.db.NewIterator(nil, nil)}, nil
}

type goleveldbCursor struct{ it iterator.Iterator }

func (c goleveldbCursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	return goleveldbPairs(c.it, c.it.Seek(key), c.it.Next, false, n, fn)
}

func (c goleveldbCursor) Close() error {
	err := c.it.Error()
	c.it.Release()
	return err
}

func (e goleveldbEngine) DeleteMany(keys [][]byte) error {
	var batch leveldb.Batch
	for _, key := range keys {
		batch.Delete(key)
	}
	return e.db.Write(&batch, e.write)
}
