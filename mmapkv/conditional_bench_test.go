package mmapkv

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// BenchmarkCompareAndSwap compares a CompareAndSwap with a Get and a Put of the same random keys. The
// two take turns, and "ratio" is the median of the ratios of their times.
func BenchmarkCompareAndSwap(b *testing.B) {
	const keys, turn, size = 100_000, 2000, 128
	s := open(b, b.TempDir(), &Options{Sync: fsync.Never})
	fill(b, s, 0, keys, size)
	var key, value []byte
	next := func() {
		key, value = numbered(rand.IntN(keys), size)
	}
	var plain, conditional []time.Duration
	step := func(times *[]time.Duration, do func() error) {
		var took time.Duration
		for range turn {
			next()
			began := time.Now()
			err := do()
			took += time.Since(began)
			if err != nil {
				b.Fatal(err)
			}
		}
		*times = append(*times, took/turn)
	}
	for b.Loop() {
		step(&plain, func() error {
			if _, err := s.Get(key); err != nil {
				return err
			}
			return s.Put(key, value)
		})
		step(&conditional, func() error {
			done, err := s.CompareAndSwap(key, value, value)
			if err == nil && !done {
				b.Fatal("the value is another")
			}
			return err
		})
	}
	var ratios []float64
	for i := range plain {
		ratios = append(ratios, float64(conditional[i])/float64(plain[i]))
	}
	slices.Sort(ratios)
	slices.Sort(plain)
	slices.Sort(conditional)
	b.ReportMetric(float64(plain[len(plain)/2]), "ns/Get+Put")
	b.ReportMetric(float64(conditional[len(conditional)/2]), "ns/swap")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}
