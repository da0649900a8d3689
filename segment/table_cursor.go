package segment

// Cursor moves over the entries of a table. It reads the parts that it comes to, one at a time, and
// checks each before it decodes it. Not for concurrent use.
//
// Each move says whether there is an entry. After a move that returned false, Next and Prev return
// false. After an error, so does every move.
type Cursor struct {
	t     *Table
	part  Part
	ahead Part // for AppendAhead
	of    int  // the number of part, if it is loaded
	valid bool
	i     int // the entry, in part
	entry HintEntry
	err   error
}

// Cursor returns a Cursor that stands at no entry.
func (t *Table) Cursor() *Cursor { return &Cursor{t: t, of: noPart} }

const noPart = -1

// First moves to the first entry.
func (c *Cursor) First() bool { return c.move(0, 0) }

// Last moves to the last entry.
func (c *Cursor) Last() bool { return c.move(len(c.t.parts)-1, lastEntry) }

// At moves to the i-th entry.
func (c *Cursor) At(i int) bool {
	if i < 0 || i >= c.t.count {
		c.valid = false
		return false
	}
	part := c.t.partOf(i)
	return c.move(part, i-c.t.firstEntry(part))
}

// Next moves to the next entry.
func (c *Cursor) Next() bool {
	if !c.valid || c.i+1 < c.part.Len() {
		return c.valid && c.stand(c.i+1)
	}
	return c.move(c.of+1, 0)
}

// Prev moves to the entry before.
func (c *Cursor) Prev() bool {
	if !c.valid || c.i > 0 {
		return c.valid && c.stand(c.i-1)
	}
	return c.move(c.of-1, lastEntry)
}

// Seek moves to the first entry whose key is not below the given one. The key must not lie in memory
// that Entry returned.
func (c *Cursor) Seek(key []byte) bool {
	c.valid = false
	from, ok := c.firstPart(key)
	if !ok {
		return false
	}
	if from > 0 { // the part before may end with such a key
		i, ok := c.seekIn(from-1, key)
		if !ok {
			return false
		}
		if i < c.part.Len() {
			return c.move(from-1, i)
		}
	}
	return c.move(from, 0)
}

// firstPart returns the first part whose first key is not below the given one.
func (c *Cursor) firstPart(key []byte) (from int, ok bool) {
	from, to := c.t.candidates(key)
	for from < to {
		middle := int(uint(from+to) / 2)
		i, ok := c.seekIn(middle, key)
		switch {
		case !ok:
			return 0, false
		case i > 0:
			from = middle + 1
		default:
			to = middle
		}
	}
	return from, true
}

// seekIn loads a part, and returns the number of its first entry whose key is not below the given
// one.
func (c *Cursor) seekIn(part int, key []byte) (i int, ok bool) {
	if !c.load(part) {
		return 0, false
	}
	if i, ok = c.part.Seek(key); !ok {
		c.err = &HintError{c.t.partPlace(part)}
	}
	return i, ok
}

// lastEntry stands for the last entry of a part.
const lastEntry = -1

// move moves to an entry of a part, if there is such a part.
func (c *Cursor) move(part, i int) bool {
	c.valid = false
	if part < 0 || part >= len(c.t.parts) || !c.load(part) {
		return false
	}
	if i == lastEntry {
		i = c.part.Len() - 1
	}
	return c.stand(i)
}

// stand moves to an entry of the present part.
func (c *Cursor) stand(i int) bool {
	if c.i, c.valid = i, c.part.read(i, &c.entry); !c.valid {
		c.err = &HintError{c.t.partPlace(c.of)}
	}
	return c.valid
}

// load reads and checks a part, unless it is the present one.
func (c *Cursor) load(part int) bool {
	if c.err == nil && c.of != part {
		c.of = noPart
		if c.err = c.t.Part(part, &c.part); c.err == nil {
			c.of = part
		}
	}
	return c.err == nil
}

// Entry is the entry that the cursor stands at. Its key is valid until the next move.
func (c *Cursor) Entry() HintEntry { return c.entry }

// Index is the number of the entry that the cursor stands at.
func (c *Cursor) Index() int { return c.t.firstEntry(c.of) + c.i }

// Place is the offset in the hint's file at which that entry begins.
func (c *Cursor) Place() int64 { return c.t.partPlace(c.of) + int64(c.part.entryPlace(c.i)) }

// Err is the error that ended the moves, nil if there was none.
func (c *Cursor) Err() error { return c.err }
