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
	state  *State
	opened bool
	runs   []run // oldest first
	stands []bool
	heading
	at    Entry // where it stands, with Key in key
	key   []byte
	valid bool
	keys  []byte
	err   error
}

// heading says where the runs stand, relative to the cursor's key.
type heading int

const (
	nowhere  heading = iota
	forward          // each run at its first key that is not below
	backward         // each run at its last key that is not above
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

// Next moves to the next key.
func (c *Cursor) Next() bool {
	if !c.valid || c.err != nil {
		return false
	}
	if c.heading == backward {
		return c.seek(forward, func(r run) (bool, error) {
			ok, err := r.seekGE(c.key)
			if ok && bytes.Equal(r.key(), c.key) {
				return r.next()
			}
			return ok, err
		})
	}
	return c.leave() && c.settle()
}

// Prev moves to the key before.
func (c *Cursor) Prev() bool {
	if !c.valid || c.err != nil {
		return false
	}
	if c.heading == forward {
		return c.seek(backward, func(r run) (bool, error) { return seekLT(r, c.key) })
	}
	return c.leave() && c.settle()
}

// Entry is where the cursor stands. Its key is valid until the next move.
func (c *Cursor) Entry() Entry { return c.at }

// Err is the error that ended the moves, nil if there was none.
func (c *Cursor) Err() error { return c.err }

// Fill moves on, and fills into with the entries that it comes to: forward, or backward if reverse
// is set. It returns how many there were, and stands at the last of them. If there were fewer than
// fit, because there are no more or there was an error, it stands nowhere. Their keys are valid
// until the next move.
func (c *Cursor) Fill(into []Entry, reverse bool) (n int) {
	c.keys = c.keys[:0]
	for n < len(into) {
		if ok := c.step(reverse); !ok {
			break
		}
		from := len(c.keys)
		c.keys = append(c.keys, c.key...)
		into[n] = c.at
		into[n].Key = c.keys[from:len(c.keys):len(c.keys)]
		n++
	}
	return n
}

func (c *Cursor) step(reverse bool) bool {
	if reverse {
		return c.Prev()
	}
	return c.Next()
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
	c.valid = false
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

// settle moves to the next key, in the heading, whose newest record is not a tombstone.
func (c *Cursor) settle() bool {
	for {
		c.valid = false
		next := c.nearest()
		if next < 0 {
			return false
		}
		c.runs[next].entry(&c.at)
		c.key = append(c.key[:0], c.runs[next].key()...)
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
		if !c.stands[i] || !bytes.Equal(r.key(), c.key) {
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
