package mmapkv

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
)

// BenchmarkShort takes a few pairs from a random key on, from a million pairs that have a view; one
// operation is one seek. The last one is YCSB E: one in twenty operations is a Put of a new key.
func BenchmarkShort(b *testing.B) {
	s := orderedBench(b, 16<<20)
	defer s.Close()
	viewOf(b, s)
	var sum int
	pair := func(left *int) func(key, value []byte) error {
		return func(key, value []byte) error {
			for at := 0; at < len(value); at += cacheLine {
				sum += int(value[at])
			}
			if *left--; *left == 0 {
				return fs.SkipAll
			}
			return nil
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	for _, pairs := range []int{1, 10, 50} {
		b.Run(fmt.Sprint("Scan-", pairs), func(b *testing.B) {
			b.ReportAllocs()
			left := 0
			fn := pair(&left)
			for b.Loop() {
				left = pairs
				if err := s.Scan(ScanOptions{From: orderedKey(random.Uint64N(benchSpan))}, fn); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("Iterator-", pairs), func(b *testing.B) {
			b.ReportAllocs()
			left := 0
			fn := pair(&left)
			it, err := s.Iterator(ScanOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer it.Close()
			for b.Loop() {
				left = pairs
				for ok := it.SeekGE(orderedKey(random.Uint64N(benchSpan))); ok; ok = it.Next() {
					if err := it.View(func(value []byte) error { return fn(nil, value) }); err != nil {
						break
					}
				}
			}
		})
	}
	b.Run("YCSB-E", func(b *testing.B) {
		b.ReportAllocs()
		value := make([]byte, 128)
		left := 0
		fn := pair(&left)
		for b.Loop() {
			if random.IntN(20) == 0 {
				if err := s.Put(orderedKey(random.Uint64N(benchSpan)), value); err != nil {
					b.Fatal(err)
				}
				continue
			}
			left = 1 + random.IntN(100)
			if err := s.Scan(ScanOptions{From: orderedKey(random.Uint64N(benchSpan))}, fn); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchSpan is the end of the range in which orderedBench puts keys.
const benchSpan = 8_000_000_000_007_000_000

// viewOf has a view made, and every page mapped.
func viewOf(b *testing.B, s *Store) {
	b.Helper()
	if err := s.Scan(ScanOptions{}, func(_, _ []byte) error { return nil }); err != nil { // else nobody wants a view
		b.Fatal(err)
	}
	if did, err := stepView(s); err != nil || !did {
		b.Fatal("no view", err)
	}
}
