package order

import (
	"bytes"
	"slices"
)

// gatherNext gathers the next block that shows any entries. All runs stand behind the cursor's key.
// If the runs do not lend themselves to it, it moves the cursor to the next key without a block. It
// returns false if there is no further key, or after an error. keep keeps the keys of the block
// before.
func (c *Cursor) gatherNext(keep bool) bool {
	if c.block == nil {
		c.block = &block{}
	}
	c.inBlock = true
	c.from, c.fromAt = append(c.from[:0], c.at.Key...), false // the block's memory is used again
	for slices.Contains(c.stands, true) {
		c.block.reset(keep)
		keep = false
		split := c.splits.choose(c)
		full, err := c.gather(split)
		switch {
		case err != nil:
			if c.err = err; !c.dropView() || !c.goBack() {
				c.valid = false
				return false
			}
			continue
		case full && !c.goBack():
			return false
		case full && c.timid > 0, len(c.block.batch.Entries)+c.block.skipped == 0:
			c.inBlock, c.steps = false, -blockMost
			c.rankAll()
			return c.settle(false)
		case full:
			c.timid = timidFor
			continue
		}
		c.merge(split)
		if c.sieving && !c.sift() {
			if !c.endSieving() || !c.goBack() {
				c.valid = false
				return false
			}
			continue
		}
		if c.block.left() > 0 {
			return true
		}
		c.passBlock(len(c.block.batch.Entries) + c.block.skipped)
		if split == nil {
			break
		}
		c.from, c.fromAt = append(c.from[:0], split...), true
	}
	c.valid = false
	return false
}

// gather gathers the entries of all runs up to a splitter; nil: all. It returns whether there were
// too many for a block.
func (c *Cursor) gather(split []byte) (full bool, err error) {
	for i, r := range c.runs {
		for c.stands[i] {
			if c.block.isFull() {
				return true, nil
			}
			var more bool
			if more, c.stands[i], err = r.gather(c.block, split, c.heading); err != nil {
				return false, err
			}
			if !more {
				break
			}
		}
		c.block.endRun(c.heading)
	}
	return false, nil
}

// goBack moves the runs back to where they stood before the block.
func (c *Cursor) goBack() bool {
	for i, r := range c.runs {
		switch {
		case c.heading == backward:
			c.stands[i], c.err = seekLT(r, c.from)
		case c.fromAt:
			c.stands[i], c.err = r.seekGE(c.from)
		default:
			c.stands[i], c.err = seekGT(r, c.from)
		}
		if c.err != nil {
			if c.dropView() {
				return c.goBack()
			}
			c.valid = false
			return false
		}
	}
	return true
}

// timidFor is how many blocks are gathered with the nearest splitter after one was too large.
const timidFor = 64

// merge puts what was gathered in order. The keys lie between the one that the cursor stands at and
// the splitter.
func (c *Cursor) merge(split []byte) {
	b := c.block
	if len(b.pieces) == 0 {
		return
	}
	low, high := c.from, split
	if split == nil {
		low, high = b.outermost()
	} else if c.heading == backward {
		low, high = high, low
	}
	b.merge(low, high)
}

// splits chooses splitters.
type splits struct{ keys [][]byte }

// manyRuns is how many runs make it worthwhile to gather more at once: each costs some time.
const manyRuns = 64

// splitSample is how many runs are asked for a splitter.
const splitSample = 16

// choose returns a splitter: a key behind which the next block ends, nil if that has all entries
// that are left. It is what the middle one of some runs has as many entries ahead as each run may
// give. While the cursor is timid, it is the nearest of all.
func (s *splits) choose(c *Cursor) []byte {
	standing := 0
	for _, stands := range c.stands {
		if stands {
			standing++
		}
	}
	sample := splitSample
	if c.timid > 0 {
		c.timid--
		sample = standing
	}
	aim := blockAim
	if standing > manyRuns {
		aim = blockMost / 2
	}
	if c.state.order.Eager {
		aim = eagerAim
	}
	if view, ok := c.runs[0].(*viewRun); ok && c.stands[0] && c.timid == 0 {
		// Nearly all entries are its own.
		if len(s.keys) == 0 {
			s.keys = append(s.keys, nil)
		}
		if s.keys[0], ok = view.ahead(s.keys[0][:0], aim, c.heading); ok {
			return s.keys[0]
		}
	}
	ahead, step := max(1, aim/standing), max(1, standing/sample)
	n, nth := 0, 0
	for i, r := range c.runs {
		if !c.stands[i] {
			continue
		}
		if nth++; nth%step != 0 {
			continue
		}
		if n == len(s.keys) {
			s.keys = append(s.keys, nil)
		}
		ok := false
		if s.keys[n], ok = r.ahead(s.keys[n][:0], ahead, c.heading); ok {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	found := s.keys[:n]
	slices.SortFunc(found, func(x, y []byte) int {
		if c.heading == backward {
			x, y = y, x
		}
		return bytes.Compare(x, y)
	})
	if c.timid > 0 {
		return found[0]
	}
	return found[min(standing/step/2, n-1)]
}
