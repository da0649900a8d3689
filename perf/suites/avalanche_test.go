package suites

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ava-labs/avalanchego/database"
	"github.com/ava-labs/avalanchego/database/dbtest"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// leftOut demands that an iterator does not show what is put after it was made.
const leftOut = "IteratorSnapshot"

func TestAvalanche(t *testing.T) {
	if _, there := dbtest.Tests[leftOut]; !there {
		t.Errorf("the suite has no test %s to leave out", leftOut)
	}
	for name, options := range stores {
		t.Run(name, func(t *testing.T) {
			for test, check := range dbtest.Tests {
				if test != leftOut {
					t.Run(test, func(t *testing.T) { check(t, &avalanche{store: open(t, options)}) })
				}
			}
		})
	}
}

// avalanche is a store as AvalancheGo wants it, which compares errors with ==.
type avalanche struct {
	store  *mmapkv.Store
	closed atomic.Bool
}

func avalancheError(err error) error {
	switch {
	case errors.Is(err, mmapkv.ErrNotFound):
		return database.ErrNotFound
	case errors.Is(err, mmapkv.ErrClosed):
		return database.ErrClosed
	}
	return err
}

func (a *avalanche) Has(key []byte) (bool, error) {
	has, err := a.store.Has(key)
	return has, avalancheError(err)
}

func (a *avalanche) Get(key []byte) ([]byte, error) {
	value, err := a.store.Get(key)
	return value, avalancheError(err)
}

func (a *avalanche) Put(key, value []byte) error { return avalancheError(a.store.Put(key, value)) }
func (a *avalanche) Delete(key []byte) error     { return avalancheError(a.store.Delete(key)) }

func (a *avalanche) NewIterator() database.Iterator {
	return a.NewIteratorWithStartAndPrefix(nil, nil)
}

func (a *avalanche) NewIteratorWithStart(start []byte) database.Iterator {
	return a.NewIteratorWithStartAndPrefix(start, nil)
}

func (a *avalanche) NewIteratorWithPrefix(prefix []byte) database.Iterator {
	return a.NewIteratorWithStartAndPrefix(nil, prefix)
}

func (a *avalanche) NewIteratorWithStartAndPrefix(start, prefix []byte) database.Iterator {
	return avalancheIterator{newIterator(a.store, mmapkv.ScanOptions{Prefix: prefix, From: start})}
}

type avalancheIterator struct{ *iterator }

func (it avalancheIterator) Error() error { return avalancheError(it.iterator.Error()) }

func (a *avalanche) Compact(_, _ []byte) error {
	return avalancheError(a.store.Compact(context.Background()))
}

func (a *avalanche) HealthCheck(context.Context) (any, error) { return a.store.Stats(), nil }

// Close returns an error the second time, which the store's own Close does not.
func (a *avalanche) Close() error {
	if a.closed.Swap(true) {
		return database.ErrClosed
	}
	return avalancheError(a.store.Close())
}

func (a *avalanche) NewBatch() database.Batch { return &avalancheBatch{store: a.store} }

type avalancheBatch struct {
	database.BatchOps
	store *mmapkv.Store
}

func (b *avalancheBatch) Write() error {
	var batch mmapkv.Batch
	for _, op := range b.Ops {
		if op.Delete {
			batch.Delete(op.Key)
		} else {
			batch.Put(op.Key, op.Value)
		}
	}
	return avalancheError(b.store.Write(&batch))
}

func (b *avalancheBatch) Inner() database.Batch { return b }
