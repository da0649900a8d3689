package order

import (
	"errors"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// A cursor that comes to many deleted keys, one after the other, sieves: it leaves out the runs of
// all files that have no record of its State alive, and asks the marks of the others (package alive)
// which of their records are. So a million deleted keys cost hardly more than the records among
// them that share a file with live ones.
//
// What must hold:
//
//   - A State believes marks only if its set was published after loading had ended, and not while a
//     compaction moved records. Then the State has exactly the records, up to its number, that
//     had a mark when it was captured.
//   - A mark that is set proves that the record is the State's: a record gets its mark once, before
//     the index has it. If a compaction has moved it since the capture, it keeps its mark.
//   - A mark that is not set proves that the record is not the State's only if no commit above the
//     State's number has made a record of the file dead (catalog.File.Died), and if the record does
//     not expire: the clock, too, takes records out of the index.
//   - A record for which neither is proved ends the sieving. The cursor goes on with all runs,
//     from the record's key on, and does not sieve again.
//   - A file is left out only if that is proved for all its records. Its tombstones are not missed:
//     no older record of their keys has a mark.

// sieveFrom is how many keys in a row a cursor passes before it sieves.
const sieveFrom = 512

// fate says whether a record is the one that a State has of its key.
type fate uint8

const (
	unknown fate = iota
	present
	dead
)

// believesMarks reports whether the State may ask the marks of its files.
func (s *State) believesMarks() bool {
	set := s.plan.set
	return !set.Partial && !set.Moving && s.order.Catalog.Loaded.Load()
}

// fate says what the marks prove of an entry of the State.
func (s *State) fate(e *Entry) fate {
	marked := e.File.Alive.Test(e.Offset) // before what could have changed it
	switch {
	case e.File.Damaged.Load():
		return unknown
	case marked:
		return present
	case e.Flags&segment.Expires != 0 || e.File.Died.Load() > s.seq:
		return unknown
	}
	return dead
}

// lacks reports whether a State with a number has no record of the file that had no mark when this
// was called.
func lacks(f *catalog.File, seq uint64) bool {
	return f.Expiring.Load() == nil && !f.Damaged.Load() && f.Died.Load() <= seq
}

// isDead reports whether the marks prove that no record of a file is one of the State's.
func (s *State) isDead(f *catalog.File) bool {
	if f.LiveBytes.Load() != 0 || !s.believesMarks() {
		return false
	}
	_, marked := f.Alive.Next(f.DataStart)
	return !marked && lacks(f, s.seq)
}

// errMarks says that the marks of a file do not prove enough. The Cursor goes on without them.
var errMarks = errors.New("the marks of records do not say which are present")

// leavesOut reports whether to leave out an unsealed file, without sorting its records. From then on
// the cursor sieves.
func (c *Cursor) leavesOut(f *catalog.File) bool {
	if c.trusting || !c.state.isDead(f) {
		return false
	}
	c.sieving = true
	return true
}

// pass notes that the cursor has passed some keys that are absent, and sieves once there are many.
func (c *Cursor) pass(keys int) {
	before, from := c.passed, sieveFrom
	c.passed += keys
	if c.state.order.Eager {
		from = 1
	}
	if before < from && c.passed >= from && !c.trusting && c.state.believesMarks() {
		c.sieve()
	}
}

// passBlock notes that the cursor has passed a block in which nothing is present.
func (c *Cursor) passBlock(entries int) {
	c.state.order.vain.Add(int64(entries))
	c.pass(entries)
}

// sieve leaves out the runs of all files that have nothing of the State.
func (c *Cursor) sieve() {
	sources := c.state.plan.sources
	kept := 0
	for i, r := range c.runs {
		switch r := r.(type) {
		case *tableRun:
			if c.state.isDead(r.source.file) {
				continue
			}
		case *sortedRun:
			if c.state.isDead(sources[r.number].file) {
				continue
			}
			r.sieving = true
		case *viewRun:
			r.dead = r.dead[:0]
			for _, one := range r.view.sources {
				r.dead = append(r.dead, c.state.isDead(one.file))
			}
		}
		c.runs[kept], c.stands[kept], c.ranks[kept] = r, c.stands[i], c.ranks[i]
		kept++
	}
	clear(c.runs[kept:])
	c.runs, c.stands, c.ranks = c.runs[:kept], c.stands[:kept], c.ranks[:kept]
	c.sieving = true
	c.state.order.sieved.Add(1)
}

// endSieving opens all runs again. They stand nowhere.
func (c *Cursor) endSieving() bool {
	c.err = errMarks
	return c.dropView()
}

// landAt moves to the key at which the cursor stands, or to the next one in the heading that is
// present.
func (c *Cursor) landAt() bool {
	c.seeked = append(c.seeked[:0], c.at.Key...)
	if c.heading == forward {
		return c.land(forward, func(r run) (bool, error) { return r.seekGE(c.seeked) })
	}
	c.seeked = append(c.seeked, 0) // there is no key between
	return c.land(backward, func(r run) (bool, error) { return seekLT(r, c.seeked) })
}

// sift takes the entries out of the block that the State does not have. It returns false if that is
// not known of one of them.
func (c *Cursor) sift() bool {
	b := c.block
	kept := b.order[:0]
	for _, number := range b.order {
		e := Entry{b.batch.Entries[number], c.file(int(number))}
		switch c.state.fate(&e) {
		case unknown:
			return false
		case present:
			kept = append(kept, number)
		}
	}
	b.order = kept
	return true
}

// pass moves to the next record that counts in a heading. It passes over records without a mark, and
// does not read them. So a record of the present key, if it comes to one, is not one of the State's.
func (r *sortedRun) pass(heading heading) (bool, error) {
	marks, from, to := &r.heads.file.Alive, r.i, r.i+1
	if heading == forward {
		for to < len(r.places) && !marks.Test(int64(r.places[to])*segment.Alignment) {
			to++
		}
	} else {
		for from > 0 && !marks.Test(int64(r.places[from-1])*segment.Alignment) {
			from--
		}
	}
	if !lacks(r.heads.file, r.seq) {
		return false, errMarks
	}
	if heading == forward {
		return r.settle(to)
	}
	return r.before(from)
}
