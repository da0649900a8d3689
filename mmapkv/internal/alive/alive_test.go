package alive

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// Records of all sizes, the smallest included, each have a bit of their own.
func TestNoTwoRecordsShareABit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const size = 4 << 20
	var b Bits
	b.Cover(size)
	var offsets []int64
	want := map[int64]bool{}
	for offset := int64(64); offset < size; offset += 24 + 8*random.Int64N(1+random.Int64N(6)) {
		if b.Test(offset) {
			t.Fatalf("the bit at %d is set already, after those at %v", offset, offsets[max(0, len(offsets)-3):])
		}
		offsets, want[offset] = append(offsets, offset), true
		b.Set(offset)
	}
	if n := b.Count(); n != len(offsets) {
		t.Errorf("%d bits are set for %d records", n, len(offsets))
	}
	for i, offset := range offsets {
		if i%3 == 0 {
			b.Clear(offset)
			want[offset] = false
		}
	}
	for _, offset := range offsets {
		if b.Test(offset) != want[offset] {
			t.Errorf("the bit at %d is %v", offset, !want[offset])
		}
	}
}

// Next finds exactly the records that are alive, in order, in files of any density.
func TestNextFindsWhatIsAlive(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		size := 1 + random.Int64N(64<<20)
		var b Bits
		b.Cover(size)
		var want []int64
		for offset := int64(64); offset < size; {
			b.Set(offset)
			want = append(want, offset)
			offset += segment.Alignment * (3 + random.Int64N(1<<random.IntN(21)))
		}
		var got []int64
		for from := int64(0); len(got) <= len(want); {
			at, ok := b.Next(from)
			if !ok {
				break
			}
			got = append(got, at)
			from = at + PlaceSize
		}
		if !slices.EqualFunc(got, want, SamePlace) {
			t.Fatalf("seed %d: %d records are found, want %d", seed, len(got), len(want))
		}
		for _, offset := range want {
			b.Clear(offset)
		}
		if at, ok := b.Next(0); ok {
			t.Fatalf("seed %d: a record at %d is alive after all are dead", seed, at)
		}
	}
}

// Goroutines that set and clear bits of one word, and make its piece, lose no change of another's.
func TestChangesBesideEachOther(t *testing.T) {
	for round := range 200 {
		var b Bits
		b.Cover(1 << 20)
		var group sync.WaitGroup
		const workers = 8
		for worker := range int64(workers) {
			group.Go(func() {
				for offset := 24 * worker; offset < 24*64*workers; offset += 24 * workers {
					b.Set(offset)
					if offset/24/workers%2 == 1 {
						b.Clear(offset)
					}
				}
			})
		}
		group.Wait()
		if n := b.Count(); n != 64*workers/2 {
			t.Fatalf("round %d: %d bits are set, want %d", round, n, 64*workers/2)
		}
	}
}

// Two goroutines that make the same piece at the same moment both find their bit in it.
func TestChangesThatMakeAPiece(t *testing.T) {
	for round := range 20_000 {
		var b Bits
		b.Cover(1 << 20)
		var ready atomic.Int32
		var group sync.WaitGroup
		for offset := range int64(2) {
			group.Go(func() {
				for ready.Add(1); ready.Load() < 2; {
					runtime.Gosched()
				}
				b.Set(24 * offset)
			})
		}
		group.Wait()
		if n := b.Count(); n != 2 {
			t.Fatalf("round %d: %d bits are set, want 2", round, n)
		}
	}
}

// The bits take half a percent of small records, and next to nothing of large ones.
func TestBytes(t *testing.T) {
	for record, atMost := range map[int64]float64{24: 1. / 180, 200: 1. / 180, 1 << 20: 1. / 2000, 64 << 20: 1. / 50_000} {
		t.Run(fmt.Sprint(record), func(t *testing.T) {
			const size = 256 << 20
			var b Bits
			b.Cover(size)
			for offset := int64(64); offset < size; offset += record {
				b.Set(offset)
			}
			if part := float64(b.Bytes()) / size; part > atMost {
				t.Errorf("the bits take %.5f of the file, more than %.5f", part, atMost)
			}
		})
	}
}

// What lies beyond the end of the file is dead, and asking for it does no harm.
func TestBeyondTheEnd(t *testing.T) {
	var b Bits
	b.Cover(1 << 62) // a hostile manifest says so
	if b.Bytes() > 64<<10 {
		t.Errorf("%d bytes for an empty file", b.Bytes())
	}
	b.Set(segment.MaxOffset)
	if !b.Test(segment.MaxOffset) || b.Test(1<<62) {
		t.Error("the last record is not alive, or one beyond it is")
	}
	b.Clear(1 << 62)
	b.Prefetch(1 << 62)
	if _, ok := b.Next(1 << 62); ok {
		t.Error("there is something beyond the end")
	}
}
