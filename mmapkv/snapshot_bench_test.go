package mmapkv

import (
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
)

// benchSnapshots is a store of so many keys, a power of two.
func benchSnapshots(b *testing.B, keys int, segment int64) *Store {
	s := open(b, b.TempDir(), &Options{SegmentSize: segment, Sync: fsync.Never, Compaction: Compaction{Disabled: true}})
	fillMixed(b, s, keys, 0)
	return s
}

// fillMixed puts every second key, or with from 0 every key, in an order that has nothing to do with
// theirs.
func fillMixed(b *testing.B, s *Store, keys, from int) {
	for i := from; i < keys; i++ {
		n := int(uint32(i) * 2654435761 % uint32(keys))
		if from > 0 && n%2 > 0 {
			continue
		}
		key, value := numbered(n, 100)
		if err := s.Put(key, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotAndClose(b *testing.B) {
	s := benchSnapshots(b, 1<<17, 1<<20)
	b.Run("idle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n, err := s.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			n.Close()
		}
	})
	b.Run("beside a writer", func(b *testing.B) {
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; !stop.Load(); i++ {
				key, value := numbered(i%(1<<17), 100)
				if s.Put(key, value) != nil {
					return
				}
			}
		}()
		for b.Loop() {
			n, err := s.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			n.Close()
		}
		stop.Store(true)
		<-done
	})
}

func BenchmarkSnapshotGet(b *testing.B) {
	const keys = 1 << 19
	for name, segment := range map[string]int64{"one segment": 256 << 20, "fifty segments": 1 << 20} {
		s := benchSnapshots(b, keys, segment)
		n, err := s.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		var dst []byte
		reads := func(name string, r Reader, first int) {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				key, _ := numbered(0, 0)
				one := func(i int) {
					k := int(uint32(i)*2654435761%(keys/2))*2 + first
					for j := len(key) - 1; j >= len(key)-7; j-- {
						key[j] = byte('0' + k%10)
						k /= 10
					}
					var err error
					if dst, err = r.AppendGet(dst[:0], key); err != nil {
						b.Fatal(err)
					}
				}
				for i := range 1 << 13 { // sorts what must be sorted, and makes filters
					one(i)
				}
				for i := 0; b.Loop(); i++ {
					one(i)
				}
			})
		}
		fillMixed(b, s, keys, 1) // overwrites those with even numbers
		reads(name+"/store", s, 1)
		reads(name+"/snapshot, unchanged", n, 1)
		reads(name+"/store, overwritten", s, 0)
		reads(name+"/snapshot, overwritten", n, 0)
		if err := s.Scan(ScanOptions{KeysOnly: true, To: []byte("k")}, nil); err != nil {
			b.Fatal(err)
		}
		for {
			made, err := stepView(s)
			if err != nil {
				b.Fatal(err)
			}
			if !made {
				break
			}
		}
		fresh, err := s.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		defer fresh.Close()
		fillMixed(b, s, keys, 1)
		reads(name+"/snapshot, overwritten, with a view", fresh, 0)
	}
}
