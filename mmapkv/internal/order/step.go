package order

import (
	"bytes"
	"math"

	"github.com/mmapkv/mmapkv/segment"
)

// A short scan chooses the next key from those at which the runs stand. Most comparisons are of
// ranks: of 8 bytes, after what the keys have in common.

// settle moves to the next key, in the heading, that is present. If it passes many that are not, and
// mayGather is set, it moves to the block that begins with the key, from which take takes it.
func (c *Cursor) settle(mayGather bool) bool {
	for {
		c.valid = false
		next := c.nearest(0)
		if next < 0 {
			return false
		}
		c.chosen = next
		c.runs[next].entry(&c.at)
		c.key = append(c.key[:0], c.at.Key...)
		c.at.Key = c.key
		if c.at.Flags&segment.Tombstone == 0 {
			f := present
			if c.sieving {
				f = c.state.fate(&c.at)
			}
			if f == unknown {
				return c.endSieving() && c.landAt()
			}
			if f == present {
				c.valid = true
				return true
			}
		}
		if !c.leave() {
			return c.dropView() && c.landBehind(c.heading)
		}
		c.steps++
		if c.pass(1); mayGather && c.isLong() {
			c.valid = true
			return c.gatherNext(false)
		}
	}
}

// isLong reports whether the cursor has gone so far that it is time for a block.
func (c *Cursor) isLong() bool {
	return c.steps >= max(blockFromLeast, blockFrom*len(c.runs)) || c.state.order.Eager
}

// nearest is the youngest of the runs that stand at the next key, among all from the given one on; -1
// if none of them stands.
func (c *Cursor) nearest(from int) int {
	next := -1
	best := uint64(0)
	for i := from; i < len(c.stands); i++ {
		if !c.stands[i] {
			continue
		}
		rank := c.ranks[i]
		if next >= 0 && rank != best {
			if rank < best != (c.heading == forward) {
				continue
			}
		} else if next >= 0 {
			order := bytes.Compare(c.runs[i].key(), c.runs[next].key())
			if order != 0 && order < 0 != (c.heading == forward) {
				continue
			}
		}
		next, best = i, rank
	}
	return next
}

// leave moves all runs that stand at the cursor's key.
func (c *Cursor) leave() bool {
	at := c.rank(c.at.Key)
	for i, r := range c.runs {
		if !c.stands[i] || c.ranks[i] != at || !bytes.Equal(r.key(), c.at.Key) {
			continue
		}
		if c.heading == forward {
			c.stands[i], c.err = r.next()
		} else {
			c.stands[i], c.err = r.prev()
		}
		if c.err != nil {
			c.valid = false
			return false
		}
		if c.stands[i] {
			c.ranks[i] = c.rank(r.key())
		}
	}
	return true
}

// rankAll notes the ranks of the keys at which the runs stand.
func (c *Cursor) rankAll() {
	for i, r := range c.runs {
		if c.stands[i] {
			c.ranks[i] = c.rank(r.key())
		}
	}
}

// rank is a number that sorts like the keys, except that several keys may have the same.
func (c *Cursor) rank(key []byte) uint64 {
	if bytes.HasPrefix(key, c.shared) {
		return keyPrefix(key[len(c.shared):])
	}
	if bytes.Compare(key, c.shared) < 0 {
		return 0
	}
	return math.MaxUint64
}
