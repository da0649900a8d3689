package workload

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// follower checks the pairs of one scan: each belongs to its key, and the keys come in
// order. It belongs to one goroutine.
type follower struct {
	data     Data
	store    Ordered
	reverse  bool
	keysOnly bool
	visit    func(key, value []byte) error

	_     [apart]byte
	key   []byte // to seek
	place place  // of the last pair
	pairs int    // so far
	first int    // the number of the first key
	last  int    // and of the last
	reads int    // of all scans
	_     [apart]byte
}

// place is where a key of the data is in the order of keys: all that lies between its
// first and its last word is the same in every key.
type place struct{ first, last uint64 }

func placeOf(key []byte) place {
	return place{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[len(key)-wordSize:])}
}

func (p place) before(other place) bool {
	return p.first < other.first || p.first == other.first && p.last < other.last
}

func (s *session) newFollower(store Ordered, span Span) *follower {
	f := &follower{data: s.Data, store: store, reverse: span.Reverse, keysOnly: span.KeysOnly}
	f.key = make([]byte, 0, max(s.KeySize, 2*apart))
	f.visit = f.follow
	return f
}

// begin is called before each scan.
func (f *follower) begin() { f.pairs = 0 }

func (f *follower) follow(key, value []byte) error {
	if len(key) != f.data.KeySize {
		return fmt.Errorf("workload: a key has %d bytes, not %d", len(key), f.data.KeySize)
	}
	at := placeOf(key)
	number := int(bits.ReverseBytes64(at.last))
	earlier, later := f.place, at
	if f.reverse {
		earlier, later = at, f.place
	}
	if f.pairs == 0 {
		f.first = number
	} else if !earlier.before(later) {
		return fmt.Errorf("workload: key %d is out of order", number)
	}
	f.place, f.last = at, number
	f.pairs++
	if f.keysOnly {
		return nil
	}
	if f.reads++; f.reads%fullyEvery == 0 {
		return f.data.VerifyFully(number, value)
	}
	return f.data.Verify(number, value)
}

// seek reads n pairs from an existing key on, by a function that does so, and returns
// how many there were.
func (f *follower) seek(number, n int, seek func(key []byte, n int, fn func(key, value []byte) error) error) (int, error) {
	f.begin()
	f.key = f.data.AppendKey(f.key[:0], number)
	if err := seek(f.key, n, f.visit); err != nil {
		return 0, err
	}
	switch {
	case f.pairs == 0 || f.pairs > n:
		return 0, fmt.Errorf("workload: %d pairs from key %d on, not %d", f.pairs, number, n)
	case f.first != number:
		return 0, fmt.Errorf("workload: key %d comes first, not %d", f.first, number)
	}
	return f.pairs, nil
}

// scanFrom is a seek by a new scan.
func (f *follower) scanFrom(key []byte, n int, fn func(key, value []byte) error) error {
	return f.store.Scan(Span{From: key, Limit: n}, fn)
}
