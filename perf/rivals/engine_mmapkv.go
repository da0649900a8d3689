package main

import (
	"context"
	"errors"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// mmapkvEngine has the default options, checksums of reads among them, but for the
// policy. What survives a kill is the same under all of them; Never is what the
// rivals do that sync nothing.
type mmapkvEngine struct{ store *mmapkv.Store }

func openMmapkv(dir string, c class) (engine, error) {
	o := &mmapkv.Options{Sync: fsync.Never}
	if c == survivesPowerLoss {
		o.Sync = fsync.Always
	}
	store, err := mmapkv.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return mmapkvEngine{store}, nil
}

func (e mmapkvEngine) view(key []byte, fn func(value []byte) error) (bool, error) {
	err := e.store.View(key, fn)
	if errors.Is(err, mmapkv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (e mmapkvEngine) appendGet(dst, key []byte) ([]byte, bool, error) {
	out, err := e.store.AppendGet(dst, key)
	if errors.Is(err, mmapkv.ErrNotFound) {
		return dst, false, nil
	}
	return out, err == nil, err
}

func (e mmapkvEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	return e.store.GetMany(keys, func(_ int, value []byte, err error) error {
		if err != nil {
			return err
		}
		return fn(value)
	})
}

func (e mmapkvEngine) put(key, value []byte) error { return e.store.Put(key, value) }

func (e mmapkvEngine) putMany(keys, values [][]byte) error {
	var batch mmapkv.Batch
	for i, key := range keys {
		batch.Put(key, values[i])
	}
	return e.store.Write(&batch)
}

func (e mmapkvEngine) each(fn func(key, value []byte) error) error { return e.store.Range(fn) }

func (e mmapkvEngine) settle() error { return e.store.Compact(context.Background()) }

func (e mmapkvEngine) close() error { return e.store.Close() }
