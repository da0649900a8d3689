package workload

import (
	"math"
	"math/rand/v2"
)

// chooser chooses the numbers of keys. It belongs to one goroutine.
type chooser func() int

// apart is a distance in bytes that avoids false sharing between goroutines: two
// cache lines, since the processor fetches them in pairs.
const apart = 128

func uniform(keys int, seed uint64, goroutine int) chooser {
	var source struct {
		_ [apart]byte
		rand.PCG
		_ [apart]byte
	}
	source.Seed(seed, uint64(goroutine))
	random := rand.New(&source.PCG)
	return func() int { return int(random.Uint64N(uint64(keys))) }
}

// theta is the skew of YCSB's Zipf distribution.
const theta = 0.99

// ranks are drawn from a Zipf distribution: rank 0 is drawn most often. They are
// drawn in advance, because drawing one takes as long as a fast read.
type ranks []uint32

// drawn is how many ranks are drawn; choosers that need more start over.
const drawn = 1 << 20

// newRanks follows Gray et al., "Quickly generating billion-record synthetic
// databases", as YCSB does.
func newRanks(keys int, seed uint64) ranks {
	zeta := func(n int) (sum float64) {
		for i := 1; i <= n; i++ {
			sum += math.Pow(1/float64(i), theta)
		}
		return sum
	}
	n, all := float64(keys), zeta(keys)
	alpha := 1 / (1 - theta)
	eta := (1 - math.Pow(2/n, 1-theta)) / (1 - zeta(min(2, keys))/all)
	random := rand.New(rand.NewPCG(seed, 0))
	r := make(ranks, drawn)
	for i := range r {
		u := random.Float64()
		switch uz := u * all; {
		case uz < 1:
		case uz < 1+math.Pow(0.5, theta) && keys > 1:
			r[i] = 1
		case keys > 2:
			r[i] = uint32(min(n*math.Pow(eta*u-eta+1, alpha), n-1))
		}
	}
	return r
}

// from starts each goroutine at another rank.
func (r ranks) from(goroutine int) chooser {
	var at struct {
		_    [apart]byte
		next int
		_    [apart]byte
	}
	at.next = goroutine * (len(r) / 7) % len(r)
	return func() int {
		rank := r[at.next]
		if at.next++; at.next == len(r) {
			at.next = 0
		}
		return int(rank)
	}
}

// scrambled spreads the ranks over the keys. Otherwise the most popular keys would be
// those loaded first, next to each other.
func (r ranks) scrambled(keys, goroutine int) chooser {
	rank := r.from(goroutine)
	return func() int { return int(scramble(uint64(rank())) % uint64(keys)) }
}
