package mmapkv

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
)

// The stores of the benchmarks have benchKeys keys, each with a value of
// benchValue bytes.
const (
	benchKeys  = 1_000_000
	benchValue = 128
)

func benchStore(b *testing.B) (s *Store, dir string) {
	b.Helper()
	dir = b.TempDir()
	s = open(b, dir, &Options{Sync: fsync.Never})
	var batch Batch
	for i := range benchKeys {
		batch.Put(numbered(i, benchValue))
		if batch.Len() == 1000 {
			if err := s.Write(&batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	b.ReportMetric(float64(s.Stats().IndexBytes)/benchKeys, "index-B/key")
	return s, dir
}

func BenchmarkRead(b *testing.B) {
	s, _ := benchStore(b)
	key := make([]byte, 0, 32)
	random := func() []byte {
		n := rand.IntN(benchKeys)
		key = append(key[:0], "key-0000000"...)
		for i := len(key) - 1; n > 0; i, n = i-1, n/10 {
			key[i] = '0' + byte(n%10)
		}
		return key
	}
	buffer := make([]byte, 0, 1024)
	show := func([]byte) error { return nil }
	b.Run("AppendGet", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.AppendGet(buffer, random()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("View", func(b *testing.B) {
		for b.Loop() {
			if err := s.View(random(), show); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("GetMany64", func(b *testing.B) {
		keys := make([][]byte, 64)
		for i := range keys {
			keys[i] = make([]byte, 0, 32)
		}
		none := func(int, []byte, error) error { return nil }
		for n := 0; b.Loop(); n++ {
			keys[n%64] = append(keys[n%64][:0], random()...)
			if n%64 == 63 {
				if err := s.GetMany(keys, none); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("HasAbsent", func(b *testing.B) {
		for b.Loop() {
			random()[0] = 'x'
			if has, err := s.Has(key); has || err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One operation is one pair.
func BenchmarkIterate(b *testing.B) {
	s, _ := benchStore(b)
	b.Run("Range", func(b *testing.B) {
		enough := errors.New("enough")
		for n := 0; n < b.N; {
			err := s.Range(func(_, _ []byte) error {
				if n++; n >= b.N {
					return enough
				}
				return nil
			})
			if err != nil && err != enough {
				b.Fatal(err)
			}
		}
	})
	b.Run("Keys", func(b *testing.B) {
		for n := 0; n < b.N; {
			for range s.Keys() {
				if n++; n >= b.N {
					break
				}
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir(), &Options{Sync: fsync.Never})
	key, value := numbered(0, benchValue)
	for i := 0; b.Loop(); i++ {
		for j, n := len(key)-1, i; n > 0 && j > 3; j, n = j-1, n/10 {
			key[j] = '0' + byte(n%10)
		}
		if err := s.Put(key, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBatchOf100(b *testing.B) {
	s := open(b, b.TempDir(), &Options{Sync: fsync.Never})
	var batch Batch
	_, value := numbered(0, benchValue)
	for i := 0; b.Loop(); i++ {
		batch.Reset()
		for j := range 100 {
			key, _ := numbered(i*100+j, 0)
			batch.Put(key, value)
		}
		if err := s.Write(&batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFromHints(b *testing.B) {
	s, dir := benchStore(b)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
