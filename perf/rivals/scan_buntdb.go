package main

import (
	"errors"
	"strings"

	"github.com/tidwall/buntdb"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Scan walks the tree of keys, which is the index without a name.
func (e buntdbEngine) Scan(s workload.Span, fn func(key, value []byte) error) error {
	return e.db.View(func(tx *buntdb.Tx) error { return buntdbPairs(tx, s, fn) })
}

func buntdbPairs(tx *buntdb.Tx, s workload.Span, fn func(key, value []byte) error) (err error) {
	from, to := s.Bounds()
	n := 0
	visit := func(key, value string) bool {
		shown := bytesOf(value)
		if s.KeysOnly {
			shown = nil
		}
		err = fn(bytesOf(key), shown)
		n++
		return err == nil && n != s.Limit
	}
	var walked error
	switch {
	case s.Reverse:
		walked = buntdbBackward(tx, stringOf(from), to, visit)
	case to != nil:
		walked = tx.AscendRange("", stringOf(from), stringOf(to), visit)
	default:
		walked = tx.AscendGreaterOrEqual("", stringOf(from), visit)
	}
	return errors.Join(err, walked)
}

// buntdbBackward descends from below to, or from the end, to from: the bounds of
// DescendRange are the other way round.
func buntdbBackward(tx *buntdb.Tx, from string, to []byte, visit func(key, value string) bool) error {
	within := func(key, value string) bool {
		switch {
		case strings.Compare(key, from) < 0:
			return false
		case to != nil && key == stringOf(to):
			return true // go on
		}
		return visit(key, value)
	}
	if to == nil {
		return tx.Descend("", within)
	}
	return tx.DescendLessOrEqual("", stringOf(to), within)
}

// Cursor keeps a transaction, which makes writers wait.
func (e buntdbEngine) Cursor() (workload.Cursor, error) {
	tx, err := e.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return buntdbCursor{tx}, nil
}

type buntdbCursor struct{ tx *buntdb.Tx }

func (c buntdbCursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	return buntdbPairs(c.tx, workload.Span{From: key, Limit: n}, fn)
}

func (c buntdbCursor) Close() error { return c.tx.Rollback() }

func (e buntdbEngine) DeleteMany(keys [][]byte) error {
	return e.db.Update(func(tx *buntdb.Tx) error {
		for _, key := range keys {
			if _, err := tx.Delete(stringOf(key)); err != nil {
				return err
			}
		}
		return nil
	})
}
