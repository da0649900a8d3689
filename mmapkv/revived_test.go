package mmapkv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// A batch that deletes a key and puts it again replaces its value. The key exists at
// every commit, so no read misses it and no walk skips it.
func TestKeyThatABatchDeletesAndPutsIsNeverAbsent(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	const others = 60
	key := []byte("key")
	put(t, s, "key", "0")
	var b Batch
	b.Delete(key)
	for i := range others {
		b.Put(fmt.Append(nil, i), nil)
	}
	b.Put(key, []byte("1"))
	var end atomic.Bool
	var reading sync.WaitGroup
	missing, left := 0, 0
	reading.Go(func() {
		for !end.Load() {
			if _, err := s.Get(key); errors.Is(err, ErrNotFound) {
				missing++
			}
		}
	})
	reading.Go(func() {
		for !end.Load() {
			found := false
			for k := range s.Keys() {
				found = found || string(k) == "key"
			}
			if !found {
				left++
			}
		}
	})
	for range 300 {
		if err := s.Write(&b); err != nil {
			t.Error(err)
		}
	}
	end.Store(true)
	reading.Wait()
	if missing > 0 || left > 0 {
		t.Errorf("%d Gets missed the key, and %d walks left it out", missing, left)
	}

	b.Reset()
	b.Put(key, []byte("2"))
	b.Delete(key)
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, "key")
	if keys := s.Len(); keys != others {
		t.Errorf("%d keys, want %d", keys, others)
	}
	closeStore(t, s)
}
