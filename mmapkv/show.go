package mmapkv

import (
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// show calls fn with a value. With the build tag invariants it shows a copy, and poisons that
// afterwards, so that a test which keeps the slice notices.
func show(value []byte, fn func(value []byte) error) error {
	rank.AssertNone("a callback of View or GetMany")
	if !invariant.Enabled {
		return fn(value[:len(value):len(value)])
	}
	shown := clone(value)
	defer poison(shown)
	return fn(shown)
}

// showPair does the same with a key and its value.
func showPair(key, value []byte, fn func(key, value []byte) error) error {
	rank.AssertNone("a callback of Range or Scan")
	if !invariant.Enabled {
		return fn(key[:len(key):len(key)], value[:len(value):len(value)])
	}
	shownKey, shownValue := clone(key), clone(value)
	defer poison(shownKey)
	defer poison(shownValue)
	return fn(shownKey, shownValue)
}

// showKey does the same with a key alone. fn gets no value.
func showKey(key []byte, fn func(key, value []byte) error) error {
	rank.AssertNone("a callback of Scan")
	if !invariant.Enabled {
		return fn(key[:len(key):len(key)], nil)
	}
	shown := clone(key)
	defer poison(shown)
	return fn(shown, nil)
}

// clone copies b. The copy is not nil, and has no room to grow.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// poison overwrites b with bytes that no test writes.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
