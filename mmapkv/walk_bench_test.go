package mmapkv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
)

// walkStore is a store of a million keys of 24 bytes with values of 128, in 12 segments of 16 MiB.
func walkStore(b *testing.B) *Store {
	b.Helper()
	s := open(b, b.TempDir(), &Options{Sync: fsync.Never, SegmentSize: 16 << 20, Compaction: Compaction{Disabled: true}})
	_, value := numbered(0, benchValue)
	var batch Batch
	for i := range benchKeys {
		batch.Put(longKey(i), value)
		if batch.Len() == 1000 {
			if err := s.Write(&batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	return s
}

// longKey is the i-th key of walkStore.
func longKey(i int) []byte { return fmt.Appendf(nil, "customer-key-%011d", i) }

// One operation is one pair.
func BenchmarkWalks(b *testing.B) {
	s := walkStore(b)
	b.Run("Range", func(b *testing.B) {
		for n := 0; n < b.N; n += benchKeys {
			if err := s.Range(func(_, _ []byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Keys", func(b *testing.B) {
		for n := 0; n < b.N; {
			for range s.Keys() {
				n++
			}
		}
	})
}

// One operation is one record that replaces another.
func BenchmarkOverwrites(b *testing.B) {
	s := walkStore(b)
	_, value := numbered(0, benchValue)
	keys := make([][]byte, 1<<16)
	for i := range keys {
		keys[i] = longKey(rand.IntN(benchKeys))
	}
	b.Run("Put", func(b *testing.B) {
		for i := range b.N {
			if err := s.Put(keys[i%len(keys)], value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("BatchOf100", func(b *testing.B) {
		var batch Batch
		for i := range b.N {
			batch.Put(keys[i%len(keys)], value)
			if batch.Len() == 100 {
				if err := s.Write(&batch); err != nil {
					b.Fatal(err)
				}
				batch.Reset()
			}
		}
	})
}
