package order

import (
	"encoding/binary"
	"errors"
)

// errFault says that a page cannot be read.
var errFault = errors.New("the page cannot be read")

// run is one sorted list of keys that a Cursor merges. It has each key once, with its newest record
// in the run, tombstones too. Every move says whether there is an entry; after one that returned
// false, only a seek moves again. One goroutine uses it.
type run interface {
	// prepare requests the memory that a seek to the key will read, so that the seeks of all runs
	// wait for memory together. It is called for all runs once for each wave, from 0 to waves-1: what
	// a wave reads, the one before has requested. A seek to that key follows.
	prepare(key []byte, wave int)
	seekGE(key []byte) (bool, error) // the first key that is not below
	seekLast() (bool, error)
	next() (bool, error)
	prev() (bool, error)
	key() []byte // valid until the next move
	entry(e *Entry)

	// ahead appends to dst a key that is about n entries ahead, and returns false if there are fewer.
	ahead(dst []byte, n int, heading heading) ([]byte, bool)
	// gather adds a piece of at most maxPiece entries to the block: from the one where the run stands
	// on, as long as they are below split or, backward, not below it; nil: all. It moves behind them,
	// and returns whether there may be more such entries, and whether there is an entry behind them.
	gather(b *block, split []byte, heading heading) (more, stands bool, err error)
}

// waves is how many times a run is prepared for a seek.
const waves = 3

// sought is where a run has found that a key lies, until it seeks the key.
type sought struct {
	from, to int // the candidates
	isKnown  bool
}

// take returns the candidates, if they are known.
func (s *sought) take() (from, to int, isKnown bool) {
	isKnown, s.isKnown = s.isKnown, false
	return s.from, s.to, isKnown
}

// keyPrefix is the first 8 bytes of a key as a number that sorts like them. Zeros stand for missing
// bytes.
func keyPrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var first [8]byte
	copy(first[:], key)
	return binary.BigEndian.Uint64(first[:])
}
