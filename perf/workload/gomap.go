package workload

import (
	"slices"
	"sync"
)

// GoMap is a Go map guarded by a RWMutex, what a service without a store would use.
func GoMap() Engine {
	return Engine{
		Name:     "Go map",
		Survives: Nothing,
		Settings: "map[string][]byte guarded by a sync.RWMutex",
		Open:     func(string) (Store, error) { return &goMap{values: map[string][]byte{}}, nil },
	}
}

type goMap struct {
	mu     sync.RWMutex // guards values
	values map[string][]byte
}

func (m *goMap) Put(key, value []byte) error {
	value = slices.Clone(value)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[string(key)] = value
	return nil
}

func (m *goMap) Write(pairs []Pair) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range pairs {
		m.values[string(p.Key)] = slices.Clone(p.Value)
	}
	return nil
}

func (m *goMap) Get(dst, key []byte) ([]byte, error) {
	m.mu.RLock()
	value, found := m.values[string(key)]
	m.mu.RUnlock()
	if !found {
		return dst, ErrNotFound
	}
	return append(dst, value...), nil
}

// View passes the stored value without a copy: stored values never change.
func (m *goMap) View(key []byte, fn func(value []byte) error) error {
	m.mu.RLock()
	value, found := m.values[string(key)]
	m.mu.RUnlock()
	if !found {
		return ErrNotFound
	}
	return fn(value)
}

func (m *goMap) Has(key []byte) (bool, error) {
	m.mu.RLock()
	_, found := m.values[string(key)]
	m.mu.RUnlock()
	return found, nil
}

func (m *goMap) Keys(fn func(key []byte) error) error {
	return m.Range(func(key, _ []byte) error { return fn(key) })
}

func (m *goMap) Range(fn func(key, value []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for key, value := range m.values {
		if err := fn([]byte(key), value); err != nil {
			return err
		}
	}
	return nil
}

func (m *goMap) Sync() error  { return nil }
func (m *goMap) Close() error { return nil }
