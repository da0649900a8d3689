package fuzz

import (
	"bytes"
	"errors"
	"time"

	"pgregory.net/rapid"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// doPutIfAbsent puts a value, with or without a time to live, if the model has none.
func (m *model) doPutIfAbsent(t *rapid.T) {
	key, value := keyGenerator.Draw(t, "key"), m.newValue(t)
	_, found := m.find(t, key)
	expiry := int64(0)
	var stored bool
	err := writing(key, value, func(k, v []byte) (err error) {
		if rapid.IntRange(0, 2).Draw(t, "expires") == 0 {
			ttl := ttlGenerator.Draw(t, "ttl")
			expiry = m.expiryAfter(ttl)
			stored, err = m.store.PutIfAbsentWithTTL(k, v, ttl)
		} else {
			stored, err = m.store.PutIfAbsent(k, v)
		}
		return err
	})
	m.must(t, "PutIfAbsent", err)
	if stored == found {
		t.Fatalf("PutIfAbsent(%.20q) says %t, and the key has a value: %t", key, stored, found)
	}
	if stored {
		m.put(key, value, expiry)
	}
	m.checkKey(t, key)
}

// oldValue draws what a conditional write compares with: what the key has, or something else.
func (m *model) oldValue(t *rapid.T, key string) (old []byte, equal bool) {
	e, found := m.find(t, key)
	if !found {
		return rapid.SampledFrom([][]byte{nil, {}, []byte("value")}).Draw(t, "old"), false
	}
	value := []byte(e.value)
	switch rapid.IntRange(0, 4).Draw(t, "old") {
	case 0:
		return append(bytes.Clone(value), 'x'), false
	case 1:
		return value[:len(value)/2], len(value) == 0
	case 2:
		if len(value) > 0 {
			value[rapid.IntRange(0, len(value)-1).Draw(t, "byte")] ^= 1
			return value, false
		}
	}
	return value, true
}

func (m *model) doSwap(t *rapid.T) {
	key, value := keyGenerator.Draw(t, "key"), m.newValue(t)
	old, equal := m.oldValue(t, key)
	var swapped bool
	err := writing(key, value, func(k, v []byte) (err error) {
		swapped, err = m.store.CompareAndSwap(k, old, v)
		return err
	})
	m.must(t, "CompareAndSwap", err)
	if swapped != equal {
		t.Fatalf("CompareAndSwap(%.20q) says %t; the value is the old one: %t", key, swapped, equal)
	}
	if swapped {
		m.put(key, value, 0)
	}
	m.checkKey(t, key)
}

func (m *model) doCompareAndDelete(t *rapid.T) {
	key := keyGenerator.Draw(t, "key")
	old, equal := m.oldValue(t, key)
	deleted, err := m.store.CompareAndDelete([]byte(key), old)
	m.must(t, "CompareAndDelete", err)
	if deleted != equal {
		t.Fatalf("CompareAndDelete(%.20q) says %t; the value is the old one: %t", key, deleted, equal)
	}
	if deleted {
		delete(m.entries, key)
	}
	m.checkKey(t, key)
}

func (m *model) doDeleteRange(t *rapid.T) {
	m.catchUp() // DeleteRange finds the keys by scans
	o := mmapkv.ScanOptions{}
	if rapid.IntRange(0, 3).Draw(t, "from") > 0 {
		o.From = []byte(keyGenerator.Draw(t, "from"))
	}
	if rapid.IntRange(0, 3).Draw(t, "to") > 0 {
		o.To = []byte(keyGenerator.Draw(t, "to"))
	}
	var gone []string
	for _, key := range modelKeys {
		if _, found := m.find(t, key); found && within(key, o) {
			gone = append(gone, key)
		}
	}
	m.must(t, "DeleteRange", m.store.DeleteRange(t.Context(), o.From, o.To))
	for _, key := range gone {
		delete(m.entries, key)
	}
	for _, key := range gone[:min(len(gone), 3)] {
		m.checkKey(t, key)
	}
	m.compareScan(t, false)
}

// within reports whether a key lies within the bounds.
func within(key string, o mmapkv.ScanOptions) bool {
	return bytes.Compare([]byte(key), o.From) >= 0 && (o.To == nil || bytes.Compare([]byte(key), o.To) < 0)
}

// wantReadOnly checks that conditional writes are refused as others are.
func (m *model) wantReadOnly(t *rapid.T) {
	for what, write := range map[string]func() (bool, error){
		"PutIfAbsent":        func() (bool, error) { return m.store.PutIfAbsent(nil, nil) },
		"PutIfAbsentWithTTL": func() (bool, error) { return m.store.PutIfAbsentWithTTL(nil, nil, time.Hour) },
		"CompareAndSwap":     func() (bool, error) { return m.store.CompareAndSwap(nil, nil, nil) },
		"CompareAndDelete":   func() (bool, error) { return m.store.CompareAndDelete(nil, nil) },
		"DeleteRange":        func() (bool, error) { return false, m.store.DeleteRange(t.Context(), nil, nil) },
	} {
		if done, err := write(); done || !errors.Is(err, mmapkv.ErrReadOnly) {
			t.Fatalf("%s on a read-only store: %t, %v", what, done, err)
		}
	}
}
