package order

import (
	"bytes"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
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
	runs    []run        // oldest first
	tables  []*tableRun  // of each source of the plan, if there was one: a plan's cursors are used again
	view    *viewRun     // of the State's view, if there was one
	sorteds []*sortedRun // runs of sorted records, to be used again
	stands  []bool       // of each run: it stands at an entry
	ranks   []uint64     // of each run that stands: the rank of its key
	shared  []byte       // what all keys had in common when the cursor was last moved by a seek
	heading heading

	at    Entry  // where the cursor stands, if valid
	key   []byte // its key, unless inBlock
	valid bool
	err   error

	chosen int // the run that gave the entry, unless inBlock

	steps   int    // in the same direction since the last seek
	inBlock bool   // the runs stand behind the block, and not at the cursor's key
	block   *block // nil until one is needed
	timid   int    // how many blocks to gather with the nearest splitter

	passed   int  // absent keys since the last seek
	sieving  bool // the runs of dead files are left out, and marks decide; see sieve.go
	trusting bool // tables alone decide, as marks did not

	seeked []byte // the key at which the cursor turned round
	from   []byte // the block lies behind this key
	fromAt bool   // or begins at it
	splits splits
	kept   segment.Batch // the entries that Fill returned without a block
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
	c.prepare(key)
	return c.seek(forward, func(r run) (bool, error) { return r.seekGE(key) })
}

// SeekLT moves to the last key that is below the given one.
func (c *Cursor) SeekLT(key []byte) bool {
	c.prepare(key)
	return c.seek(backward, func(r run) (bool, error) { return seekLT(r, key) })
}

// prepare requests the memory for a seek.
func (c *Cursor) prepare(key []byte) {
	if !c.open() {
		return
	}
	for wave := range waves {
		for _, r := range c.runs {
			r.prepare(key, wave)
		}
	}
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
	c.kept.Reset(keptKeys)
	kept := false // the entries of the block before this one were returned
	for n < len(into) && c.valid && c.err == nil {
		switch {
		case !c.inBlock || c.heading != to:
			if c.heading == to && c.isViewed() {
				n += c.fillViewed(into[n:])
			} else if c.advance(to) {
				into[n] = c.keep()
				n++
			}
		case c.block.left() > 0:
			for n < len(into) && c.block.left() > 0 {
				number := c.block.next(to)
				into[n] = Entry{c.block.batch.Entries[number], c.file(number)}
				n++
			}
			c.at = into[n-1]
		default:
			if kept {
				c.block.last = segment.Batch{}
			}
			kept = true
			if c.gatherNext(true) && !c.inBlock {
				into[n] = c.keep()
				n++
			}
		}
	}
	return n
}

// keep is the entry at which the cursor stands, with a key that Fill may return.
func (c *Cursor) keep() Entry {
	c.kept.Add(c.at.HintEntry)
	return Entry{c.kept.Entries[len(c.kept.Entries)-1], c.at.File}
}

// Close ends the use of the cursor, so that another scan can use its memory. It need not be called.
func (c *Cursor) Close() {
	s := c.state
	if s == nil {
		return // it is closed already
	}
	clear(c.runs)
	for _, r := range c.sorteds {
		r.forget()
	}
	*c = Cursor{runs: c.runs[:0], tables: c.tables, view: c.view, sorteds: c.sorteds, stands: c.stands, ranks: c.ranks,
		shared: c.shared, key: c.key, seeked: c.seeked, from: c.from, kept: c.kept}
	s.order.leaveCursor(s.plan, c)
}

// open opens the runs.
func (c *Cursor) open() bool {
	if c.err == nil && !c.opened {
		if c.runs, c.err = c.state.open(c.runs[:0], c); c.err == nil {
			n := len(c.runs)
			c.stands, c.ranks, c.opened = slices.Grow(c.stands[:0], n)[:n], slices.Grow(c.ranks[:0], n)[:n], true
		}
	}
	return c.err == nil
}

// sortedRun returns the i-th run of sorted records, which the caller resets.
func (c *Cursor) sortedRun(i int) *sortedRun {
	if i == len(c.sorteds) {
		c.sorteds = append(c.sorteds, &sortedRun{})
	}
	return c.sorteds[i]
}

// seek moves every run, and then to the key that is next in the direction.
func (c *Cursor) seek(to heading, move func(r run) (bool, error)) bool {
	return c.land(to, move) && c.take()
}

// land is seek before take.
func (c *Cursor) land(to heading, move func(r run) (bool, error)) bool {
	c.valid, c.inBlock, c.steps, c.passed = false, false, 0, 0
	if !c.open() {
		return false
	}
	c.heading = to
	c.shared = c.shared[:0]
	first := true
	for i, r := range c.runs {
		if c.stands[i], c.err = move(r); c.err != nil {
			return c.dropView() && c.land(to, move)
		}
		switch {
		case !c.stands[i]:
		case first:
			c.shared, first = append(c.shared, r.key()...), false
		default:
			c.shared = c.shared[:commonSize(c.shared, r.key())]
		}
	}
	c.rankAll()
	return c.settle(true)
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
			return c.dropView() && c.seekBehind(to)
		}
		if !c.isLong() {
			return c.settle(true) && c.take()
		}
	}
	if (!c.inBlock || c.block.left() == 0) && !c.gatherNext(false) {
		return false
	}
	return c.take()
}

// take moves to the next entry of the block, if the cursor is in one.
func (c *Cursor) take() bool {
	if c.inBlock {
		number := c.block.next(c.heading)
		c.at = Entry{c.block.batch.Entries[number], c.file(number)}
	}
	return true
}

// A scan counts as long after so many steps for each run, and not before so many.
const (
	blockFrom      = 8
	blockFromLeast = 128
)

// file is the file of an entry of the block.
func (c *Cursor) file(number int) *catalog.File {
	return c.state.plan.sources[c.block.ofSource[number]].file
}

// dropView makes the cursor go on without the view, or without marks, if that is what ended the
// move. The runs then stand nowhere.
func (c *Cursor) dropView() bool {
	if c.err != errView && c.err != errMarks {
		return false
	}
	c.trusting = c.trusting || c.err == errMarks
	c.err, c.opened, c.sieving = nil, false, false
	return c.open()
}

// seekBehind moves to the next key in a direction, from where the cursor stands, whatever it has
// done before.
func (c *Cursor) seekBehind(to heading) bool { return c.landBehind(to) && c.take() }

// landBehind is seekBehind before take.
func (c *Cursor) landBehind(to heading) bool {
	c.seeked = append(c.seeked[:0], c.at.Key...)
	if to == forward {
		return c.land(to, func(r run) (bool, error) { return seekGT(r, c.seeked) })
	}
	return c.land(to, func(r run) (bool, error) { return seekLT(r, c.seeked) })
}
