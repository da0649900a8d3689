package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
	"github.com/mmapkv/mmapkv/perf/workload"
)

func (t *turn) awaitRest() { rig.AwaitRest(t.ctx, t.rest) }

// settleAgain opens the store so that nothing is synced, and brings it to its best
// state again.
func (t *turn) settleAgain() (err error) {
	if err := t.close(); err != nil {
		return err
	}
	if t.store, err = t.open(t.dir, workload.Kill); err != nil {
		return err
	}
	return t.settle()
}

const (
	figureBeside    = "scan all pairs in order beside puts at the fixed rate"
	figureBesidePut = "puts beside these scans, p99"
)

// scanBeside scans everything over and over while a second goroutine puts random keys
// at the fixed rate.
func (t *turn) scanBeside() error {
	store, s := t.store.(workload.Ordered), t.data.newSeen(workload.Span{})
	var puts []time.Duration
	var putErr, scanErr error
	var ended atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		defer ended.Store(true)
		source := t.data.newSource(t.seed, 5)
		puts, putErr = keepPace(t.putRate, t.latency, func() error { return t.store.Put(source.pair(source.uniform())) })
	})
	began := time.Now()
	for scans := 0; scanErr == nil && (scans == 0 || !ended.Load()); scans++ {
		scanErr = t.complete(s, func() error { return store.Scan(s.span, s.visit) })
	}
	took := time.Since(began)
	group.Wait()
	if err := errors.Join(putErr, scanErr); err != nil {
		return fmt.Errorf("%s: %w", figureBeside, err)
	}
	t.figures[figureBeside] = float64(took) / float64(s.all)
	slices.Sort(puts)
	t.figures[figureBesidePut] = float64(puts[len(puts)*99/100])
	return nil
}

// mixers are the numbers of goroutines that do YCSB E.
var mixers = []int{1, 2}

func figureMix(goroutines int) string {
	return fmt.Sprintf("YCSB E: scans of 1 to 100, 5%% inserts, goroutines: %d", goroutines)
}

const longestScan = 100 // pairs

// ycsbE scans from popular keys on, and inserts new keys.
func (t *turn) ycsbE() error {
	inserted := atomic.Int64{}
	for _, goroutines := range mixers {
		latencies, all := make([]*hdrhistogram.Histogram, goroutines), make([]*seen, goroutines)
		for g := range goroutines {
			latencies[g], all[g] = workload.NewHistogram(), t.data.newSeen(workload.Span{})
		}
		mix := func(store workload.Store, s *source) (int, error) {
			began := time.Now()
			var err error
			if s.random.IntN(100) < 95 {
				err = all[s.stream].seek(s, s.popular(), 1+s.random.IntN(longestScan), func(key []byte, n int, fn func(key, value []byte) error) error {
					return store.(workload.Ordered).Scan(workload.Span{From: key, Limit: n}, fn)
				})
			} else {
				err = store.Put(s.pair(s.data.keys + int(inserted.Add(1)) - 1))
			}
			workload.Record(latencies[s.stream], time.Since(began))
			return 1, err
		}
		figure := figureMix(goroutines)
		if err := t.do([]work{{figure, goroutines, mix}}); err != nil {
			return err
		}
		for _, other := range latencies[1:] {
			latencies[0].Merge(other)
		}
		t.figures[figure+", p99"] = float64(latencies[0].ValueAtPercentile(99))
	}
	return nil
}

const (
	inGroup          = 100 // keys
	figurePrefix     = "all pairs of a prefix that 100 keys share"
	figurePrefixKeys = "all keys of a prefix that 100 keys share"
	groupsOf         = 10 // one of this many keys is in a group, besides
)

// groupPrefix is what the keys of a group share. It is above all other keys, and the
// order of the groups is unrelated to that of their numbers.
func groupPrefix(buffer []byte, group int) []byte {
	const digits = 7
	return appendHex(append(buffer, 'p'), uint64(group)*0x9e3779b1&(1<<(4*digits)-1), digits)
}

func appendGroupKey(buffer []byte, number int) []byte {
	return appendHex(groupPrefix(buffer, number/inGroup), uint64(number), keySize-8)
}

// prefix adds groups of keys that share a prefix, and scans one group at a time.
func (t *turn) prefix() error {
	groups := max(1, t.data.keys/groupsOf/inGroup)
	order := rand.New(rand.NewPCG(t.seed, 0)).Perm(groups * inGroup)
	if err := t.putAll(len(order), func(buffer []byte, i int) []byte { return appendGroupKey(buffer, order[i]) }); err != nil {
		return err
	}
	return t.do([]work{
		{figurePrefix, 1, t.scanGroup(groups, false)},
		{figurePrefixKeys, 1, t.scanGroup(groups, true)},
	})
}

// scanGroup scans a random group.
func (t *turn) scanGroup(groups int, keysOnly bool) func(workload.Store, *source) (int, error) {
	var want []byte
	var n, first int
	var sum uint64
	visit := func(key, value []byte) error {
		if want = appendGroupKey(want[:0], first+n); string(want) != string(key) {
			return fmt.Errorf("key %s where %s should be", key, want)
		}
		n++
		sum += sumOf(value)
		return nil
	}
	return func(store workload.Store, from *source) (int, error) {
		n, first = 0, from.random.IntN(groups)*inGroup
		from.key = groupPrefix(from.key[:0], first/inGroup)
		err := store.(workload.Ordered).Scan(workload.Span{Prefix: from.key, KeysOnly: keysOnly}, visit)
		if err == nil && n != inGroup {
			err = fmt.Errorf("%d keys in group %s", n, from.key)
		}
		return 1, err
	}
}

// putAll puts pairs in batches, with the keys that key makes.
func (t *turn) putAll(pairs int, key func(buffer []byte, i int) []byte) error {
	source := t.data.newSource(t.seed, 6)
	for from := 0; from < pairs && t.ctx.Err() == nil; from += loadBatch {
		batch := source.pairs(min(loadBatch, pairs-from), func() int { return 0 })
		for i := range batch {
			batch[i].Key = key(batch[i].Key[:0], from+i)
		}
		if err := t.store.Write(batch); err != nil {
			return err
		}
	}
	return t.ctx.Err()
}

// figureSwath are the three times at which the lowest key is sought.
var figureSwath = []string{
	"find the lowest key above the deleted ones, just after their deletion",
	"the same again",
	"the same when the background is at rest",
}

// appendSwathKey appends a key that is below all other keys.
func appendSwathKey(buffer []byte, number int) []byte {
	return appendHex(append(buffer, '!'), uint64(number), keySize-1)
}

// crossSwath puts and deletes many keys next to each other, below all others, and looks
// for the lowest key that is left.
func (t *turn) crossSwath() error {
	if err := t.putAll(t.swath, appendSwathKey); err != nil {
		return err
	}
	keys := make([][]byte, 0, loadBatch)
	for from := 0; from < t.swath; from += len(keys) {
		keys = keys[:min(loadBatch, t.swath-from)]
		for i := range keys {
			keys[i] = appendSwathKey(keys[i][:0], from+i)
		}
		if err := firstOf(t.store.(workload.Deleter).DeleteMany(keys), t.ctx.Err()); err != nil {
			return err
		}
	}
	for i, figure := range figureSwath {
		if i == 2 {
			t.awaitRest()
		}
		var lowest string
		took, err := timed(func() error {
			return t.store.(workload.Ordered).Scan(workload.Span{Limit: 1}, func(key, _ []byte) error {
				lowest = string(key)
				return nil
			})
		})
		if err == nil && (lowest == "" || lowest[0] == '!') {
			err = fmt.Errorf("the lowest key is %q", lowest)
		}
		if err != nil {
			return err
		}
		t.figures[figure] = took
	}
	return nil
}

// timed returns how many nanoseconds something took.
func timed(do func() error) (float64, error) {
	began := time.Now()
	err := do()
	return float64(time.Since(began)), err
}
