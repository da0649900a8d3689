package main

import (
	"errors"
	"slices"
	"sync"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// mapEngine is a Go map guarded by a lock, what a service without a store would use.
// Nothing survives the process. A value in the map is never modified, so readers hold
// the lock only to look it up.
type mapEngine struct {
	lock   sync.RWMutex
	values map[string][]byte // guarded by lock
}

func openMap(string, workload.Class) (workload.Store, error) {
	return &mapEngine{values: map[string][]byte{}}, nil
}

func (e *mapEngine) get(key []byte) (value []byte, found bool) {
	e.lock.RLock()
	defer e.lock.RUnlock()
	value, found = e.values[string(key)]
	return value, found
}

func (e *mapEngine) View(key []byte, fn func(value []byte) error) error {
	value, found := e.get(key)
	if !found {
		return workload.ErrNotFound
	}
	return fn(value)
}

func (e *mapEngine) Get(dst, key []byte) ([]byte, error) {
	value, found := e.get(key)
	if !found {
		return dst, workload.ErrNotFound
	}
	return append(dst, value...), nil
}

func (e *mapEngine) Has(key []byte) (bool, error) {
	_, found := e.get(key)
	return found, nil
}

func (e *mapEngine) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	e.lock.RLock()
	defer e.lock.RUnlock()
	for i, key := range keys {
		var missing error
		value, found := e.values[string(key)]
		if !found {
			missing = workload.ErrNotFound
		}
		if err := fn(i, value, missing); err != nil {
			return err
		}
	}
	return nil
}

func (e *mapEngine) Put(key, value []byte) error {
	value = slices.Clone(value)
	e.lock.Lock()
	defer e.lock.Unlock()
	e.values[string(key)] = value
	return nil
}

func (e *mapEngine) Write(pairs []workload.Pair) error {
	e.lock.Lock()
	defer e.lock.Unlock()
	for _, p := range pairs {
		e.values[string(p.Key)] = slices.Clone(p.Value)
	}
	return nil
}

func (e *mapEngine) Range(fn func(key, value []byte) error) error {
	e.lock.RLock()
	defer e.lock.RUnlock()
	for key, value := range e.values {
		if err := fn(bytesOf(key), value); err != nil {
			return err
		}
	}
	return nil
}

func (e *mapEngine) Keys(fn func(key []byte) error) error {
	return e.Range(func(key, _ []byte) error { return fn(key) })
}

// Sync is not supported: nothing is stored.
func (e *mapEngine) Sync() error { return errors.ErrUnsupported }

func (e *mapEngine) Close() error { return nil }
