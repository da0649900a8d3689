package index

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

const benchKeys = 1 << 20

// fpOf turns a counter into the fingerprint of its own key.
func fpOf(n uint64) Fingerprint {
	n += 0x9E3779B97F4A7C15
	n = (n ^ n>>30) * 0xBF58476D1CE4E5B9
	n = (n ^ n>>27) * 0x94D049BB133111EB
	n ^= n >> 31
	return Fingerprint{Hash: neverZero(n), Check: uint32(n>>13) * 0x9E3779B1}
}

// locationOf returns a different location for every n below 2^40.
func locationOf(n uint64) Location {
	return MakeLocation(uint32(n>>28), int64(n&(1<<28-1)+8)*8, 64)
}

func filled(keys int) *KeyDir {
	d := New(Options{})
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(n))
	}
	return d
}

var sink atomic.Uint64

func BenchmarkFindHit(b *testing.B) {
	d := filled(benchKeys)
	random := rand.New(rand.NewPCG(1, 2))
	var sum Location
	for b.Loop() {
		c := d.Find(fpOf(random.Uint64() % benchKeys).Hash)
		location, _ := c.Next()
		sum += location
	}
	sink.Store(uint64(sum))
}

func BenchmarkFindMiss(b *testing.B) {
	d := filled(benchKeys)
	random := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		c := d.Find(fpOf(random.Uint64()%benchKeys + benchKeys).Hash)
		if _, ok := c.Next(); ok {
			b.Fatal("found")
		}
	}
}

func BenchmarkFindParallel(b *testing.B) {
	d := filled(benchKeys)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		random := rand.New(rand.NewPCG(1, 2))
		var sum Location
		for pb.Next() {
			c := d.Find(fpOf(random.Uint64() % benchKeys).Hash)
			location, _ := c.Next()
			sum += location
		}
		sink.Store(uint64(sum))
	})
}

func BenchmarkPutGrowing(b *testing.B) {
	d := New(Options{})
	n := uint64(0)
	for b.Loop() {
		d.Put(fpOf(n), locationOf(n))
		n++
	}
	b.ReportMetric(float64(d.Bytes())/float64(d.Len()), "B/key")
}

func BenchmarkPutExpected(b *testing.B) {
	d := New(Options{ExpectedKeys: b.N})
	b.ResetTimer()
	for n := range uint64(b.N) {
		d.Put(fpOf(n), locationOf(n))
	}
}

func BenchmarkOverwrite(b *testing.B) {
	d := filled(benchKeys)
	random := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		n := random.Uint64() % benchKeys
		d.Put(fpOf(n), locationOf(n+1))
	}
}

func BenchmarkRange(b *testing.B) {
	d := filled(benchKeys)
	for b.Loop() {
		d.Range(func(Fingerprint, Location) bool { return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

func BenchmarkFingerprint(b *testing.B) {
	hasher := NewHasher()
	key := []byte("user:000000012345")
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			hasher.Hash(key)
		}
	})
	b.Run("both", func(b *testing.B) {
		for b.Loop() {
			hasher.Fingerprint(key)
		}
	})
}
