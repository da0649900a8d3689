package index

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// The keys of these tests: steady keys are present throughout. Passing keys are inserted and
// deleted around them, so that pages split, fill up with deleted keys and are rebuilt. The tests
// end after a number of steps, never after a time.
const (
	steadyKeys  = 400
	passingKeys = 1 << 32 // the first number of a passing key
)

// churn inserts keys of its own and deletes them again. The next round uses half of them, and as
// many new ones. A key always has the same location, so that readers can distinguish it from
// another key's. at is the number of the first key of the round.
func churn(d *KeyDir, at *atomic.Uint64, worker, rounds, keys int) {
	base := passingKeys * uint64(worker+1)
	for range rounds {
		at.Store(base)
		for n := range uint64(keys) {
			d.Put(fpOf(base+n), locationOf(base+n))
		}
		for n := range uint64(keys) {
			d.Delete(fpOf(base + n))
		}
		base += uint64(keys) / 2
	}
}

// steps scales the length of a test: the race detector makes everything ten times slower.
func steps(n int) int {
	if raceEnabled {
		return n / 8
	}
	return n
}

func TestReadersMissNoKeyWhilePagesChange(t *testing.T) {
	d := New(Options{PageSlots: 8})
	for n := range uint64(steadyKeys) {
		d.Put(fpOf(n), locationOf(0))
	}
	// One goroutine overwrites each steady key with increasing locations, and publishes each
	// location after it wrote it: a read that starts later must see that location or a greater one.
	var promised [steadyKeys]atomic.Uint64
	var stop atomic.Bool
	var at [2]atomic.Uint64
	var writers, readers sync.WaitGroup
	for worker := range 2 {
		at[worker].Store(passingKeys)
		writers.Go(func() { churn(d, &at[worker], worker, steps(160), 3000) })
	}
	writers.Go(func() {
		for round := uint64(1); round < uint64(steps(2000)); round++ {
			for n := range uint64(steadyKeys) {
				d.Put(fpOf(n), locationOf(round))
				promised[n].Store(round)
			}
		}
	})
	var reads atomic.Int64
	for reader := range 2 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 1))
			for !stop.Load() {
				n := random.Uint64() % steadyKeys
				want := locationOf(promised[n].Load())
				c := d.Find(fpOf(n).Hash)
				location, ok := c.Next()
				if !ok || location < want {
					t.Errorf("key %d: got %#x, %v, but %#x or more was promised", n, location, ok, want)
					return
				}
				if got := d.Get(fpOf(n)); got < location {
					t.Errorf("key %d: went back from %#x to %#x", n, location, got)
					return
				}
				passing := at[reader].Load() + random.Uint64()%3000
				c = d.Find(fpOf(passing).Hash)
				if location, ok := c.Next(); ok && location != locationOf(passing) {
					t.Errorf("key %d: got %#x, which is another key's location", passing, location)
					return
				}
				reads.Add(1)
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	checkPages(t, d)
	if d.Len() != steadyKeys {
		t.Errorf("Len is %d, want %d", d.Len(), steadyKeys)
	}
	pages, splits, rebuilds := d.Stats()
	t.Logf("%d reads, %d pages, %d splits, %d rebuilds", reads.Load(), pages, splits, rebuilds)
}

// Most splits happen early, so this grows many small KeyDirs under their readers.
func TestReadersMissNoKeyWhileBucketsSplit(t *testing.T) {
	for range steps(240) {
		d := New(Options{PageSlots: 8})
		const keys = 3000
		var written atomic.Uint64
		var group sync.WaitGroup
		for reader := range 2 {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(reader), 2))
				for {
					upTo := written.Load()
					if upTo == keys {
						return
					}
					if upTo == 0 {
						continue
					}
					n := random.Uint64() % upTo
					c := d.Find(fpOf(n).Hash)
					if location, ok := c.Next(); !ok || location != locationOf(n) {
						t.Errorf("key %d of %d: got %#x %v", n, upTo, location, ok)
						return
					}
				}
			})
		}
		for n := range uint64(keys) {
			d.Put(fpOf(n), locationOf(n))
			written.Store(n + 1)
		}
		group.Wait()
		if t.Failed() {
			return
		}
	}
}

// No reader has to wait for a split: the page without the keys that moved is never visible before
// the new count.
func TestSplitPublishesTheCountFirst(t *testing.T) {
	for range steps(240) {
		d := New(Options{PageSlots: 8})
		var done atomic.Bool
		var group sync.WaitGroup
		group.Go(func() {
			for !done.Load() {
				count := d.buckets.Load()
				sibling := bucket(count ^ 1<<(bits.Len64(count)-1))
				p, _ := d.pages.Load(sibling)
				if mask := p.mask; d.buckets.Load() == count && mask > maskOf(sibling, count) {
					t.Errorf("bucket %d of %d was replaced by one with mask %#x", sibling, count, mask)
					return
				}
			}
		})
		for n := range uint64(3000) {
			d.Put(fpOf(n), locationOf(n))
		}
		done.Store(true)
		group.Wait()
	}
}

func TestRangeYieldsOnceWhilePagesChange(t *testing.T) {
	d := New(Options{PageSlots: 8})
	for n := range uint64(steadyKeys) {
		d.Put(fpOf(n), locationOf(n))
	}
	var stop atomic.Bool
	var at [2]atomic.Uint64
	var writers, walkers sync.WaitGroup
	for worker := range 2 {
		writers.Go(func() { churn(d, &at[worker], worker, steps(160), 3000) })
	}
	walkers.Go(func() {
		for !stop.Load() {
			got := map[Fingerprint]Location{}
			d.Range(func(fp Fingerprint, location Location) bool {
				if _, twice := got[fp]; twice {
					t.Errorf("Range yielded %+v twice", fp)
				}
				got[fp] = location
				return true
			})
			for n := range uint64(steadyKeys) {
				if got[fpOf(n)] != locationOf(n) {
					t.Errorf("Range yielded key %d with location %#x", n, got[fpOf(n)])
				}
			}
			if t.Failed() {
				return
			}
		}
	})
	writers.Wait()
	stop.Store(true)
	walkers.Wait()
	checkPages(t, d)
}

// Splits happen between any two pages of a walk, because the callback itself grows the KeyDir.
func TestRangeYieldsOnceAcrossSplits(t *testing.T) {
	for growth := range uint64(8) {
		d := New(Options{PageSlots: 8})
		const keys = 300
		for n := range uint64(keys) {
			d.Put(fpOf(n), locationOf(n))
		}
		more := uint64(passingKeys)
		got := map[Fingerprint]int{}
		d.Range(func(fp Fingerprint, _ Location) bool {
			got[fp]++
			if more < passingKeys+5000 {
				for range growth {
					d.Put(fpOf(more), locationOf(1))
					more++
				}
			}
			return true
		})
		for n := range uint64(keys) {
			if got[fpOf(n)] != 1 {
				t.Fatalf("growth %d: Range yielded key %d %d times", growth, n, got[fpOf(n)])
			}
		}
		for fp, times := range got {
			if times != 1 {
				t.Fatalf("growth %d: Range yielded %+v %d times", growth, fp, times)
			}
		}
	}
}

// Whatever the order, the greatest location of each key stays, and every other one loses exactly once.
func TestPutNewerInAnyOrder(t *testing.T) {
	const keys, versions, workers = 500, 12, 4
	for seed := range uint64(steps(16)) {
		d := New(Options{PageSlots: 8})
		var losers [workers]map[[2]uint64]int
		var group sync.WaitGroup
		for worker := range workers {
			losers[worker] = map[[2]uint64]int{}
			group.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(worker)))
				loader := d.Loader()
				defer loader.Done()
				var entries []Entry
				put := func() {
					for _, lost := range loader.PutNewer(entries, func() {}) {
						e := &entries[lost.Entry]
						if lost.Location > e.Location {
							t.Errorf("key %d: %#x was replaced by %#x", e.Tag, lost.Location, e.Location)
						}
						losers[worker][[2]uint64{uint64(e.Tag), uint64(lost.Location)}]++
					}
					entries = entries[:0]
				}
				for _, task := range random.Perm(keys * versions) {
					if task%workers != worker {
						continue
					}
					key, version := uint64(task/versions), uint64(task%versions)
					fp := fpOf(key)
					entries = append(entries, Entry{Hash: fp.Hash, Location: locationOf(version), Check: fp.Check, Tag: uint32(key)})
					if len(entries) >= random.IntN(100) {
						put()
					}
				}
				put()
			})
		}
		group.Wait()
		checkPages(t, d)
		if d.Len() != keys {
			t.Fatalf("seed %d: Len is %d, want %d", seed, d.Len(), keys)
		}
		lost := map[[2]uint64]int{}
		for _, some := range losers {
			for which, times := range some {
				lost[which] += times
			}
		}
		if len(lost) != keys*(versions-1) {
			t.Fatalf("seed %d: %d locations lost, want %d", seed, len(lost), keys*(versions-1))
		}
		for which, times := range lost {
			if times != 1 || Location(which[1]) == locationOf(versions-1) {
				t.Fatalf("seed %d: key %d lost %#x %d times", seed, which[0], which[1], times)
			}
		}
		for key := range uint64(keys) {
			if got := d.Get(fpOf(key)); got != locationOf(versions-1) {
				t.Fatalf("seed %d: key %d is at %#x", seed, key, got)
			}
		}
	}
}

// Each successful CompareAndSwap moves a key one step. No step may be lost or taken twice.
func TestCompareAndSwapLosesNoStep(t *testing.T) {
	const keys, workers = 16, 3
	swaps := steps(40_000)
	d := New(Options{PageSlots: 8})
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(0))
	}
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(worker)))
			for range swaps {
				fp := fpOf(random.Uint64() % keys)
				for {
					old := d.Get(fp)
					step := uint64(old.Offset()/8-8) + 1
					if d.CompareAndSwap(fp, old, locationOf(step)) {
						break
					}
				}
			}
		})
	}
	var at atomic.Uint64
	group.Go(func() { churn(d, &at, 0, swaps/400, 500) })
	group.Wait()
	checkPages(t, d)
	sum := int64(0)
	for n := range uint64(keys) {
		sum += d.Get(fpOf(n)).Offset()/8 - 8
	}
	if sum != int64(workers*swaps) || d.Len() != keys {
		t.Errorf("%d steps of %d, Len %d", sum, workers*swaps, d.Len())
	}
}

// If several goroutines delete or insert the same key at the same time, exactly one succeeds.
func TestDeleteAndInsertHaveOneWinner(t *testing.T) {
	const workers = 4
	keys := uint64(steps(20_000))
	d := New(Options{PageSlots: 8})
	for round := range 3 {
		var inserted, deleted atomic.Int64
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for n := range keys {
					if d.CompareAndSwap(fpOf(n), NoLocation, locationOf(n)) {
						inserted.Add(1)
					}
				}
			})
		}
		group.Wait()
		if d.Len() != int(keys) {
			t.Fatalf("round %d: Len %d of %d", round, d.Len(), keys)
		}
		for range workers {
			group.Go(func() {
				for n := range keys {
					if d.Delete(fpOf(n)) != NoLocation {
						deleted.Add(1)
					}
				}
			})
		}
		group.Wait()
		if inserted.Load() != int64(keys) || deleted.Load() != int64(keys) || d.Len() != 0 {
			t.Fatalf("round %d: %d inserted, %d deleted, Len %d", round, inserted.Load(), deleted.Load(), d.Len())
		}
		checkPages(t, d)
	}
}

// Sweep runs while others write: a location that they put stays unless drop returns true for it.
func TestSweepBesideWriters(t *testing.T) {
	d := New(Options{PageSlots: 8})
	keys := uint64(steps(40_000))
	for n := range keys {
		d.Put(fpOf(n), MakeLocation(1, 64, 0))
	}
	var group sync.WaitGroup
	group.Go(func() {
		for n := range keys / 2 {
			d.Put(fpOf(2*n), MakeLocation(2, 64, 8))
		}
	})
	group.Go(func() { d.Sweep(Location.Tombstone) })
	group.Wait()
	d.Sweep(Location.Tombstone)
	checkPages(t, d)
	for n := range keys {
		if got := d.Get(fpOf(n)); (n%2 == 0) != (got != NoLocation) {
			t.Fatalf("key %d is at %#x", n, got)
		}
	}
}
