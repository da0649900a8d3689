package mmapkv

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
)

// increment adds one to a counter.
func increment(value []byte) []byte {
	return binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(value)+1)
}

// counterStore opens a store that has a counter and other keys.
func counterStore(b *testing.B) (s *Store, counter []byte) {
	s = open(b, b.TempDir(), &Options{Sync: fsync.Never})
	fill(b, s, 0, 10_000, 100)
	counter = []byte("counter")
	if err := s.Put(counter, make([]byte, 8)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return s, counter
}

func update(s *Store, counter []byte) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		value, err := tx.Get(counter)
		if err != nil {
			return err
		}
		return tx.Put(counter, increment(value))
	})
}

// BenchmarkReadModifyWrite adds to a counter with a Get and a Put, and with Update.
func BenchmarkReadModifyWrite(b *testing.B) {
	b.Run("GetPut", func(b *testing.B) {
		s, counter := counterStore(b)
		for range b.N {
			value, err := s.Get(counter)
			if err == nil {
				err = s.Put(counter, increment(value))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Update", func(b *testing.B) {
		s, counter := counterStore(b)
		for range b.N {
			if err := update(s, counter); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEightOnOneKey adds to one counter from eight goroutines, under a mutex and with Update. It
// reports the least share of one of them: an eighth is 0.125.
func BenchmarkEightOnOneKey(b *testing.B) {
	eight := func(b *testing.B, add func() error) {
		var left atomic.Int64
		left.Store(int64(b.N))
		var group sync.WaitGroup
		var shares [8]int
		for i := range shares {
			group.Go(func() {
				for left.Add(-1) >= 0 {
					if err := add(); err != nil {
						b.Error(err)
					}
					shares[i]++
				}
			})
		}
		group.Wait()
		least := shares[0]
		for _, n := range shares {
			least = min(least, n)
		}
		b.ReportMetric(float64(least)/float64(b.N), "least-share")
	}
	b.Run("Mutex", func(b *testing.B) {
		s, counter := counterStore(b)
		var mu sync.Mutex
		eight(b, func() error {
			mu.Lock()
			defer mu.Unlock()
			value, err := s.Get(counter)
			if err != nil {
				return err
			}
			return s.Put(counter, increment(value))
		})
	})
	b.Run("Update", func(b *testing.B) {
		s, counter := counterStore(b)
		eight(b, func() error { return update(s, counter) })
	})
}
