package mmapkv

import (
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// show calls fn with a value. Under the invariants tag it shows a copy and
// poisons it afterwards, so that a test which keeps the slice sees it.
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
