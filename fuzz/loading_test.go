package fuzz

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestLoadingCrashStates is TestCompactionCrashStates with stores whose index is loaded in steps,
// between the reads, the writes and the ends of lives.
func TestLoadingCrashStates(t *testing.T) {
	crashAll(t, func(l *life) { l.held, l.compacting = true, true })
}

// pointReads returns what a store shows of all keys, read one by one in every way, so that the index
// need not be full.
func (l *life) pointReads(store *mmapkv.Store) map[string]string {
	shown := map[string]string{}
	for i := range 12 {
		key := []byte(strings.Repeat("k", i/4) + string(rune('a'+i%4)))
		value, err := store.Get(key)
		there := err == nil
		if !there && !errors.Is(err, mmapkv.ErrNotFound) {
			l.fail("Get(%q): %v", key, err)
		}
		if has, err := store.Has(key); err != nil || has != there {
			l.fail("Has(%q) = %v, %v, but Get said %v", key, has, err, there)
		}
		err = store.GetMany([][]byte{key}, func(_ int, again []byte, err error) error {
			if there != (err == nil) || there && !bytes.Equal(again, value) {
				l.fail("GetMany(%q) = %.30q, %v; want %.30q, %v", key, again, err, value, there)
			}
			return nil
		})
		if err != nil {
			l.fail("GetMany: %v", err)
		}
		if there {
			shown[string(key)] = string(value)
		}
	}
	return shown
}
