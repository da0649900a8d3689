package mmapkv

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
)

// BenchmarkScan takes pairs in order; one operation is one pair. BenchmarkSeek takes a few pairs
// from a random key on; one operation is one seek.
func BenchmarkScan(b *testing.B) {
	s, _ := benchStore(b)
	for _, c := range []struct {
		name string
		o    ScanOptions
	}{
		{"pairs", ScanOptions{}},
		{"keys", ScanOptions{KeysOnly: true}},
		{"reverse", ScanOptions{Reverse: true}},
		{"reverse keys", ScanOptions{Reverse: true, KeysOnly: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				err := s.Scan(c.o, func(_, _ []byte) error {
					if n++; n >= b.N {
						return fs.SkipAll
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Iterator", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; {
			it, err := s.Iterator(ScanOptions{})
			if err != nil {
				b.Fatal(err)
			}
			for n < b.N && it.Next() {
				if _, err := it.Value(); err != nil {
					b.Fatal(err)
				}
				n++
			}
			it.Close()
		}
	})
}

func BenchmarkSeek(b *testing.B) {
	s, _ := benchStore(b)
	for _, pairs := range []int{1, 10, 50} {
		b.Run(fmt.Sprint("Scan of ", pairs), func(b *testing.B) {
			b.ReportAllocs()
			key := make([]byte, 0, 32)
			for b.Loop() {
				key = fmt.Appendf(key[:0], "key-%07d", rand.IntN(benchKeys-pairs))
				n := 0
				err := s.Scan(ScanOptions{From: key}, func(_, _ []byte) error {
					if n++; n == pairs {
						return fs.SkipAll
					}
					return nil
				})
				if err != nil || n != pairs {
					b.Fatal(n, err)
				}
			}
		})
		for _, how := range []string{"an open Iterator", "an Iterator"} {
			b.Run(fmt.Sprint(how, ", ", pairs), func(b *testing.B) {
				b.ReportAllocs()
				key := make([]byte, 0, 32)
				it, err := s.Iterator(ScanOptions{})
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					key = fmt.Appendf(key[:0], "key-%07d", rand.IntN(benchKeys-pairs))
					if how == "an Iterator" {
						it, _ = s.Iterator(ScanOptions{})
					}
					ok := it.SeekGE(key)
					for n := 1; ok; n++ {
						if _, err := it.Value(); err != nil {
							b.Fatal(err)
						}
						if n == pairs {
							break
						}
						ok = it.Next()
					}
					if !ok {
						b.Fatal(it.Err())
					}
					if how == "an Iterator" {
						it.Close()
					}
				}
			})
		}
	}
}
