package main

import (
	"slices"
	"sync"
)

// mapEngine is what a service has that stores nothing: Go's map behind a lock. Nothing
// survives anything. A value is never written to once it is in the map, so that readers
// hold the lock only to look it up.
type mapEngine struct {
	lock   sync.RWMutex
	values map[string][]byte // guarded by lock
}

func openMap(string, class) (engine, error) { return &mapEngine{values: map[string][]byte{}}, nil }

func (e *mapEngine) get(key []byte) (value []byte, found bool) {
	e.lock.RLock()
	defer e.lock.RUnlock()
	value, found = e.values[string(key)]
	return value, found
}

func (e *mapEngine) view(key []byte, fn func(value []byte) error) (bool, error) {
	value, found := e.get(key)
	if !found {
		return false, nil
	}
	return true, fn(value)
}

func (e *mapEngine) appendGet(dst, key []byte) ([]byte, bool, error) {
	value, found := e.get(key)
	return append(dst, value...), found, nil
}

func (e *mapEngine) viewMany(keys [][]byte, fn func(value []byte) error) error {
	e.lock.RLock()
	defer e.lock.RUnlock()
	for _, key := range keys {
		if err := fn(e.values[string(key)]); err != nil {
			return err
		}
	}
	return nil
}

func (e *mapEngine) put(key, value []byte) error {
	value = slices.Clone(value)
	e.lock.Lock()
	defer e.lock.Unlock()
	e.values[string(key)] = value
	return nil
}

func (e *mapEngine) putMany(keys, values [][]byte) error {
	e.lock.Lock()
	defer e.lock.Unlock()
	for i, key := range keys {
		e.values[string(key)] = slices.Clone(values[i])
	}
	return nil
}

func (e *mapEngine) each(fn func(key, value []byte) error) error {
	e.lock.RLock()
	defer e.lock.RUnlock()
	for key, value := range e.values {
		if err := fn(bytesOf(key), value); err != nil {
			return err
		}
	}
	return nil
}

func (e *mapEngine) settle() error { return nil }

func (e *mapEngine) close() error { return nil }
