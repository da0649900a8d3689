package mmapkv

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// orderedKey is a key of 24 bytes.
func orderedKey(n uint64) []byte {
	key := fmt.Appendf(nil, "user:%019d", n)
	return key
}

// orderedBench is a store of a million keys of 24 bytes with values of 128, in random order.
func orderedBench(b testing.TB, segmentSize int64) *Store {
	b.Helper()
	o := &Options{SegmentSize: segmentSize, Sync: fsync.Never}
	o.Compaction.Disabled = true
	inject.Into(o, &inject.Seams{Manual: true})
	s := open(b, b.TempDir(), o)
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 128)
	const keys = 1_000_000
	var batch Batch
	for i, n := range random.Perm(keys) {
		binary.LittleEndian.PutUint64(value, uint64(n))
		batch.Put(orderedKey(uint64(n)*8_000_000_000_007), value)
		if i%1000 == 999 {
			if err := s.Write(&batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	for len(s.catalog.Files.Unsealed()) > 2 {
		if _, err := s.log.StepSeal(); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkOrder(b *testing.B) {
	for _, size := range []int64{16 << 20, 1 << 20} {
		s := orderedBench(b, size)
		segments := len(s.catalog.Set().Order)
		for _, viewed := range []string{"tables", "view"} {
			b.Run(fmt.Sprintf("segments-%d-%s", segments, viewed), func(b *testing.B) { benchOrder(b, s, viewed == "view") })
		}
		s.Close()
	}
}

func benchOrder(b *testing.B, s *Store, viewed bool) {
	if viewed {
		_ = s.Scan(ScanOptions{}, func(_, _ []byte) error { return fs.SkipAll }) // else nobody wants a view
		if did, err := stepView(s); err != nil || !did {
			b.Fatal("no view", err)
		}
		stats := s.order.Stats()
		b.Logf("%d keys, %.2f bytes each, made in %v", stats.ViewKeys, float64(stats.ViewBytes)/float64(stats.ViewKeys), stats.ViewsTook)
	}
	state, err := s.order.Capture()
	if err != nil {
		b.Fatal(err)
	}
	defer state.Release()
	c := state.Cursor()
	for ok := c.First(); ok; ok = c.Fill(make([]order.Entry, 64), false) > 0 { // opens and sorts
	}
	b.ReportMetric(float64(s.order.Stats().Bytes)/1e6, "order-MB")
	for name, reverse := range map[string]bool{"keys": false, "reverse": true} {
		b.Run(name, func(b *testing.B) {
			var into [64]order.Entry
			left := 0
			c := state.Cursor()
			for b.Loop() {
				if left == 0 {
					if reverse {
						c.Last()
					} else {
						c.First()
					}
					left = c.Fill(into[:], reverse)
				}
				if left--; left == 0 {
					left = c.Fill(into[:], reverse)
				}
			}
			if c.Err() != nil {
				b.Fatal(c.Err())
			}
		})
	}
	for _, more := range []int{0, 10, 50} {
		b.Run(fmt.Sprint("seek-and-", more), func(b *testing.B) {
			random := rand.New(rand.NewPCG(3, 4))
			for b.Loop() {
				state, err := s.order.Capture()
				if err != nil {
					b.Fatal(err)
				}
				c := state.Cursor()
				c.SeekGE(orderedKey(random.Uint64N(8_000_000_000_007_000_000)))
				for range more {
					c.Next()
				}
				if c.Err() != nil {
					b.Fatal(c.Err())
				}
				c.Close()
				state.Release()
			}
		})
	}
}
