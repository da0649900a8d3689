package order

import (
	"bytes"

	"github.com/mmapkv/mmapkv/segment"
)

// Cursor moves over the keys of a State, each with its newest record. Keys that are absent do not
// come. Records that have expired do: the caller asks the clock. One goroutine uses it.
//
// Each move says whether there is a key. After a move that returned false, Next, Prev and Fill
// find nothing: only First, Last and the seeks move again. After an error, nothing does.
type Cursor struct {
	state   *State
	opened  bool
	runs    []run  // oldest first
	stands  []bool // of each run: it stands at an entry
	heading heading

	at    Entry  // where the cursor stands, if valid
	key   []byte // its key, unless inBlock
	valid bool
	err   error

	steps   int    // in the same direction since the last seek
	inBlock bool   // the runs stand behind the block, and not at the cursor's key
	block   *block // nil until one is needed
	timid   int    // how many blocks to gather with the nearest splitter

	seeked []byte // the key at which the cursor turned round
	from   []byte // the block lies behind this key
	fromAt bool   // or begins at it
	splits splits
	keys   []byte // of the entries that Fill returned without a block
}

// heading says where the runs stand, relative to the cursor's key.
type heading int

const (
	forward  heading = iota // each run at its first key that is not below
	backward                // each run at its last key that is not above
)

// First moves to the lowest key.
func (c *Cursor) First() bool { return c.SeekGE(nil) }

// Last moves to the highest key.
func (c *Cursor) Last() bool {
	return c.seek(backward, func(r run) (bool, error) { return r.seekLast() })
}

// SeekGE moves to the first key that is not below the given one.
func (c *Cursor) SeekGE(key []byte) bool {
	return c.seek(forward, func(r run) (bool, error) { return r.seekGE(key) })
}

// SeekLT moves to the last key that is below the given one.
func (c *Cursor) SeekLT(key []byte) bool {
	return c.seek(backward, func(r run) (bool, error) { return seekLT(r, key) })
}

// seekLT moves a run to its last key that is below the given one.
func seekLT(r run, key []byte) (bool, error) {
	ok, err := r.seekGE(key)
	if err != nil {
		return false, err
	}
	if ok {
		return r.prev()
	}
	return r.seekLast()
}

// seekGT moves a run to its first key that is above the given one.
func seekGT(r run, key []byte) (bool, error) {
	ok, err := r.seekGE(key)
	if ok && bytes.Equal(r.key(), key) {
		return r.next()
	}
	return ok, err
}

// Next moves to the next key.
func (c *Cursor) Next() bool { return c.advance(forward) }

// Prev moves to the key before.
func (c *Cursor) Prev() bool { return c.advance(backward) }

// Entry is where the cursor stands. Its key is valid until the next move.
func (c *Cursor) Entry() Entry { return c.at }

// Err is the error that ended the moves, nil if there was none.
func (c *Cursor) Err() error { return c.err }

// Fill moves on, and fills into with the entries that it comes to: forward, or backward if reverse
// is set. It returns how many there were, and stands at the last of them. If there were fewer than
// fit, because there are no more or there was an error, it stands nowhere. Their keys are valid
// until the next move.
func (c *Cursor) Fill(into []Entry, reverse bool) (n int) {
	to := forward
	if reverse {
		to = backward
	}
	c.keys = c.keys[:0]
	kept := false // the entries of the block before this one were returned
	for n < len(into) && c.valid && c.err == nil {
		switch {
		case !c.inBlock || c.heading != to:
			if c.advance(to) {
				into[n] = c.kept()
				n++
			}
		case c.block.left() > 0:
			for n < len(into) && c.block.left() > 0 {
				number := c.block.next(to)
				into[n] = Entry{c.block.batch.Entries[number], c.runs[c.block.ofRun[number]].file()}
				n++
			}
			c.at = into[n-1]
		default:
			if kept {
				c.block.last = segment.Batch{}
			}
			kept = true
			if c.gatherNext(true) && !c.inBlock {
				into[n] = c.kept()
				n++
			}
		}
	}
	return n
}

// kept is the entry at which the cursor stands, with a key that Fill may return.
func (c *Cursor) kept() Entry {
	from := len(c.keys)
	c.keys = append(c.keys, c.at.Key...)
	e := c.at
	e.Key = c.keys[from:len(c.keys):len(c.keys)]
	return e
}

// open opens the runs.
func (c *Cursor) open() bool {
	if c.err == nil && !c.opened {
		if c.runs, c.err = c.state.runs(); c.err == nil {
			c.stands, c.opened = make([]bool, len(c.runs)), true
		}
	}
	return c.err == nil
}

// seek moves every run, and then to the key that is next in the direction.
func (c *Cursor) seek(to heading, move func(r run) (bool, error)) bool {
	c.valid, c.inBlock, c.steps = false, false, 0
	if !c.open() {
		return false
	}
	c.heading = to
	for i, r := range c.runs {
		if c.stands[i], c.err = move(r); c.err != nil {
			return false
		}
	}
	return c.settle()
}

// advance moves to the next key in a direction.
func (c *Cursor) advance(to heading) bool {
	switch {
	case !c.valid || c.err != nil:
		return false
	case c.heading != to:
		return c.seekBehind(to)
	case !c.inBlock:
		if c.steps++; !c.leave() {
			return false
		}
		if c.steps < blockFrom*len(c.runs) && !c.state.order.Eager {
			return c.settle()
		}
	}
	if (!c.inBlock || c.block.left() == 0) && !c.gatherNext(false) {
		return false
	}
	if c.inBlock {
		number := c.block.next(to)
		c.at = Entry{c.block.batch.Entries[number], c.runs[c.block.ofRun[number]].file()}
	}
	return true
}

// blockFrom is after how many steps for each run a scan counts as long.
const blockFrom = 8

// seekBehind moves to the next key in a direction, from where the cursor stands, whatever it has
// done before.
func (c *Cursor) seekBehind(to heading) bool {
	c.seeked = append(c.seeked[:0], c.at.Key...)
	if to == forward {
		return c.seek(to, func(r run) (bool, error) { return seekGT(r, c.seeked) })
	}
	return c.seek(to, func(r run) (bool, error) { return seekLT(r, c.seeked) })
}

// settle moves to the next key, in the heading, whose newest record is not a tombstone.
func (c *Cursor) settle() bool {
	for {
		c.valid = false
		next := c.nearest()
		if next < 0 {
			return false
		}
		c.runs[next].entry(&c.at)
		c.key = append(c.key[:0], c.at.Key...)
		c.at.Key = c.key
		if c.at.Flags&segment.Tombstone == 0 {
			c.valid = true
			return true
		}
		if !c.leave() {
			return false
		}
	}
}

// nearest is the youngest of the runs that stand at the next key, -1 if no run stands.
func (c *Cursor) nearest() int {
	next := -1
	for i, r := range c.runs {
		if !c.stands[i] {
			continue
		}
		if next < 0 {
			next = i
			continue
		}
		order := bytes.Compare(r.key(), c.runs[next].key())
		if order == 0 || order < 0 == (c.heading == forward) {
			next = i
		}
	}
	return next
}

// leave moves all runs that stand at the cursor's key.
func (c *Cursor) leave() bool {
	for i, r := range c.runs {
		if !c.stands[i] || !bytes.Equal(r.key(), c.at.Key) {
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
	}
	return true
}
