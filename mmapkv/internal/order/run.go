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
	// wait for memory together.
	prepare(key []byte)
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
