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
	shown := append(make([]byte, 0, len(value)), value...)
	defer func() {
		for i := range shown {
			shown[i] = 0xdb
		}
	}()
	return fn(shown)
}
