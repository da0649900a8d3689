package main

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Scan gives the iterator its bounds, so that it reads nothing beyond them, and asks
// for a value only if it is wanted, since pebble reads values when they are asked for.
func (e pebbleEngine) Scan(s workload.Span, fn func(key, value []byte) error) (err error) {
	from, to := s.Bounds()
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	valid, step := false, it.Next
	if s.Reverse {
		valid, step = it.Last(), it.Prev
	} else {
		valid = it.First()
	}
	return pebblePairs(it, valid, step, s.KeysOnly, s.Limit, fn)
}

// pebblePairs calls fn with the pairs from where the iterator stands, n at most; 0: all.
func pebblePairs(it *pebble.Iterator, valid bool, step func() bool, keysOnly bool, n int, fn func(key, value []byte) error) error {
	for valid {
		var value []byte
		if !keysOnly {
			var err error
			if value, err = it.ValueAndErr(); err != nil {
				return err
			}
		}
		if err := fn(it.Key(), value); err != nil {
			return err
		}
		if n--; n == 0 {
			return nil
		}
		valid = step()
	}
	return it.Error()
}

func (e pebbleEngine) Cursor() (workload.Cursor, error) {
	it, err := e.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	return pebbleCursor{it}, nil
}

type pebbleCursor struct{ it *pebble.Iterator }

func (c pebbleCursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	return pebblePairs(c.it, c.it.SeekGE(key), c.it.Next, false, n, fn)
}

func (c pebbleCursor) Close() error { return c.it.Close() }

func (e pebbleEngine) DeleteMany(keys [][]byte) (err error) {
	batch := e.db.NewBatch()
	defer func() { err = errors.Join(err, batch.Close()) }()
	for _, key := range keys {
		if err := batch.Delete(key, nil); err != nil {
			return err
		}
	}
	return batch.Commit(e.write)
}
