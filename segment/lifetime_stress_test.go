package segment

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	retirements = flag.Int("lifetime.retirements", 2_000, "number of segments to retire while readers use them")
	stressSeed  = flag.Uint64("lifetime.seed", 1, "seed of the readers")
)

// stress replaces two segments again and again while readers use both.
type stress struct {
	t       *testing.T
	dir     *testDir
	current [2]atomic.Pointer[Active]
	ended   atomic.Bool
	reads   atomic.Int64 // admitted reads
	refused atomic.Int64
}

// make creates a segment whose value repeats a byte of its own.
func (s *stress) make(id int) *Active {
	a, err := Create(s.dir, Header{ID: ID(id), Salt: uint64(id), Kind: Log}, 8<<10)
	if err != nil {
		s.t.Fatal(err)
	}
	put(s.t, a, 1, []byte("key"), bytes.Repeat([]byte{byte(id)}, 2<<10))
	s.dir.calls, s.dir.writes = nil, nil
	return a
}

// check reads a segment that the caller uses.
func (s *stress) check(a *Active) {
	var r Record
	err := a.Record(&r, HeaderSize, -1)
	if s.reads.Load()%16 == 0 {
		runtime.Gosched() // in the middle of a read
	}
	if err != nil || !r.ValueOK() || bytes.Count(r.Value, []byte{byte(a.ID)}) != 2<<10 {
		s.t.Errorf("segment %d has a value of %d bytes that is not its own: %v", a.ID, len(r.Value), err)
	}
	s.reads.Add(1)
}

// readings are what readers do with the two segments: read one, move from one to the other, read one
// inside a read of the other, and move from a slot to a count.
var readings = []func(s *stress, p *Pin, one, other *Active) (admitted bool){
	func(s *stress, p *Pin, one, _ *Active) bool {
		if !p.Take(one.Segment) {
			return false
		}
		s.check(one)
		p.Release()
		return true
	},
	func(s *stress, p *Pin, one, other *Active) bool {
		defer p.Release()
		for _, a := range []*Active{one, other, one} {
			if !p.Take(a.Segment) {
				return false
			}
			s.check(a)
		}
		return true
	},
	func(s *stress, p *Pin, one, other *Active) bool {
		defer p.Release()
		if !p.Take(one.Segment) {
			return false
		}
		var nested Pin
		if nested.Take(other.Segment) {
			s.check(other)
			nested.Release()
		}
		s.check(one)
		return true
	},
	func(s *stress, p *Pin, one, _ *Active) bool {
		if !p.Take(one.Segment) {
			return false
		}
		counted := one.Acquire() // refused if it has been retired since
		s.check(one)
		p.Release()
		if counted {
			s.check(one)
			one.Release()
		}
		return true
	},
}

// stay holds a segment by a count while others are retired, and usually that one as well.
func stay(s *stress, _ *Pin, one, _ *Active) (admitted bool) {
	if !one.Acquire() {
		return false
	}
	defer one.Release()
	for range 3 {
		s.check(one)
		for now := s.current[0].Load(); s.current[0].Load() == now && !s.ended.Load(); {
			runtime.Gosched()
		}
	}
	s.check(one)
	return true
}

// Readers look up the current segments and read them while these are replaced again and again,
// sometimes with no slot left. Race builds poison unmapped memory, which the race detector sees; in
// other builds a read that comes too late faults.
func TestReadersBesideRetirements(t *testing.T) {
	s := &stress{t: t, dir: newTestDir(t)}
	s.current[0].Store(s.make(1))
	s.current[1].Store(s.make(2))
	var reading sync.WaitGroup
	for r := range 4 {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(*stressSeed, uint64(r)))
			for ; !s.ended.Load(); runtime.Gosched() { // let the retirements run
				at := random.IntN(2)
				one, other := s.current[at].Load(), s.current[1-at].Load()
				var p Pin
				read := readings[random.IntN(len(readings))]
				if random.IntN(50) == 0 {
					read = stay
				}
				if !read(s, &p, one, other) {
					s.refused.Add(1)
				}
			}
		})
	}
	for i := range *retirements {
		old := s.current[i%2].Swap(s.make(i + 3))
		if i%16 == 0 {
			free := takeFreeSlots()
			old.Retire()
			free()
		} else {
			old.Retire()
		}
		if err := s.dir.Remove(FileName(old.ID)); err != nil {
			t.Fatal(err)
		}
	}
	s.ended.Store(true)
	reading.Wait()
	s.current[0].Load().Retire()
	s.current[1].Load().Retire()
	for s.dir.open.Load() != 0 {
		syncYield()
	}
	t.Logf("seed %d: %d retirements, %d reads, %d readers refused", *stressSeed, *retirements, s.reads.Load(), s.refused.Load())
}

// takeFreeSlots fills every free slot, and returns a function that frees these again.
func takeFreeSlots() (free func()) {
	var taken []*slot
	for i := range slots {
		if slots[i].number.CompareAndSwap(0, ^uint64(0)) {
			taken = append(taken, &slots[i])
		}
	}
	return func() {
		for _, s := range taken {
			s.number.Store(0)
		}
	}
}
