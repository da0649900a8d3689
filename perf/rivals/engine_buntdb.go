package main

import (
	"errors"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/tidwall/buntdb"
)

// buntdbEngine holds everything in memory and logs the writes. It has the default
// configuration but for the policy, "Durability and fsync" in its README: Always for
// what survives power loss, otherwise Never; a commit is written out in both.
type buntdbEngine struct{ db *buntdb.DB }

func openBuntdb(dir string, c class) (_ engine, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
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
	if c == survivesPowerLoss {
		config.SyncPolicy = buntdb.Always
	}
	if err := db.SetConfig(config); err != nil {
		return nil, err
	}
	return buntdbEngine{db}, nil
}

// bytesOf and stringOf change the type without a copy; nobody writes to the result
// of the one, and what is looked up by the other lives for the call only.
func bytesOf(s string) []byte  { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (e buntdbEngine) view(key []byte, fn func(value []byte) error) (bool, error) {
	err := e.db.View(func(tx *buntdb.Tx) error {
		value, err := tx.Get(stringOf(key))
		if err != nil {
			return err
		}
		return fn(bytesOf(value))
	})
	if errors.Is(err, buntdb.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (e buntdbEngine) appendGet(dst, key []byte) (out []byte, found bool, err error) {
	found, err = e.view(key, func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, found, err
}

func (e buntdbEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	return e.db.View(func(tx *buntdb.Tx) error {
		for _, key := range keys {
			value, err := tx.Get(stringOf(key))
			if err != nil {
				return err
			}
			if err := fn(bytesOf(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e buntdbEngine) put(key, value []byte) error {
	return e.db.Update(func(tx *buntdb.Tx) error {
		_, _, err := tx.Set(string(key), string(value), nil)
		return err
	})
}

func (e buntdbEngine) putMany(keys, values [][]byte) error {
	return e.db.Update(func(tx *buntdb.Tx) error {
		for i, key := range keys {
			if _, _, err := tx.Set(string(key), string(values[i]), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e buntdbEngine) each(fn func(key, value []byte) error) error {
	return e.db.View(func(tx *buntdb.Tx) (err error) {
		walked := tx.Ascend("", func(key, value string) bool {
			err = fn(bytesOf(key), bytesOf(value))
			return err == nil
		})
		return errors.Join(err, walked)
	})
}

func (e buntdbEngine) settle() error {
	err := e.db.Shrink()
	if errors.Is(err, buntdb.ErrShrinkInProcess) {
		return nil
	}
	return err
}

func (e buntdbEngine) close() error { return e.db.Close() }
