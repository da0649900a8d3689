package order

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// State is the state of the store after one commit. Its methods may be called concurrently, and
// its cursors used concurrently, until Release.
type State struct {
	order *Order
	plan  *plan
	seq   uint64
	view  *view     // of the first sources; nil: none
	rest  []*source // the other sources
	ends  []restEnd // of each of the rest
	few   [4]restEnd
}

// restEnd says what a State has of a source.
type restEnd struct {
	limit int64                // by which all records of the State end
	tail  atomic.Pointer[tail] // if its sorted records are used
}

// Entry is the newest record of a key in a State. Its key is in the cursor's own memory, and valid
// until its next move. Its Flags are those that a table keeps, and never say Tombstone.
type Entry struct {
	segment.HintEntry
	File *catalog.File // that has the record; the State holds it
}

// stateOf returns the State of a plan and a number. While nothing is written, those who capture share
// one State, and thereby what it has sorted. Each holds the plan for itself.
func stateOf(o *Order, p *plan, seq uint64) *State {
	if s := p.last.Load(); s != nil && s.seq == seq && s.view == p.viewAt(seq) {
		return s
	}
	s := newState(o, p, seq)
	p.last.Store(s)
	return s
}

// viewAt returns the plan's view, if a State with the number may use it.
func (p *plan) viewAt(seq uint64) *view {
	if v := p.view.Load(); v != nil && v.seq <= seq {
		return v
	}
	return nil
}

func newState(o *Order, p *plan, seq uint64) *State {
	s := &State{order: o, plan: p, seq: seq, rest: p.sources}
	if s.view = p.viewAt(seq); s.view != nil {
		s.rest = p.sources[len(s.view.sources):]
	}
	if s.ends = s.few[:]; len(s.rest) > len(s.few) {
		s.ends = make([]restEnd, len(s.rest))
	}
	for i, one := range s.rest {
		s.ends[i].limit = one.file.Limit()
	}
	return s
}

// Seq is the sequence number of the last commit in the State.
func (s *State) Seq() uint64 { return s.seq }

// Set is the set of files that the State was captured of. It holds them until Release.
func (s *State) Set() *catalog.FileSet { return s.plan.set }

// Release ends the State. Its cursors must not be used any more. It is called once for each Capture
// that returned the State.
func (s *State) Release() { s.order.letGo(s.plan) }

// Cursor returns a Cursor that stands at no key. It opens what it needs when it first moves.
func (s *State) Cursor() *Cursor {
	c := s.order.usedCursor(s.plan)
	if c == nil {
		c = &Cursor{}
	}
	c.state = s
	return c
}

// open opens the runs of the State, oldest first: its view, or the tables of the view's files, and
// those of the rest. The cursor has the runs that were opened before, if there were any.
func (s *State) open(runs []run, c *Cursor) ([]run, error) {
	s.order.noteUse()
	viewed, first, sorteds := len(s.plan.sources)-len(s.rest), 0, 0
	if v := s.view; v != nil && !v.broken.Load() {
		if c.view == nil || c.view.view != v {
			c.view = newViewRun(v)
		}
		c.view.dead = c.view.dead[:0] // another State's
		runs, first = append(runs, c.view), viewed
	}
	for number := first; number < len(s.plan.sources); number++ {
		one, i := s.plan.sources[number], number-viewed // i is negative in the view, whose files are all sealed
		if i >= 0 && s.ends[i].limit <= one.file.DataStart {
			continue
		}
		if end, sealed := one.sealed(&s.order.Catalog.Files); sealed && end.Seq <= s.seq {
			t, err := s.openTable(one, number, c)
			if err != nil {
				return nil, err
			}
			runs = append(runs, t)
			continue
		}
		if c.leavesOut(one.file) {
			continue
		}
		t, err := s.sorted(i)
		if err != nil {
			return nil, err
		}
		for _, sorted := range t.runs {
			r := c.sortedRun(sorteds)
			r.reset(one.file, uint32(number), sorted, s.seq)
			runs, sorteds = append(runs, r), sorteds+1
		}
	}
	return runs, nil
}

// sorted returns the sorted records of one of the rest.
func (s *State) sorted(i int) (*tail, error) {
	end := &s.ends[i]
	if t := end.tail.Load(); t != nil {
		return t, nil
	}
	t, err := s.rest[i].sort(s.order.Hints, end.limit)
	if err == nil {
		end.tail.Store(t)
	}
	return t, err
}

// openTable opens the table of a source, which has a number in the plan.
func (s *State) openTable(one *source, number int, c *Cursor) (*tableRun, error) {
	t, err := one.openTable(s.order.Hints, nil)
	if err != nil {
		return nil, err
	}
	if c.tables == nil {
		c.tables = make([]*tableRun, len(s.plan.sources))
	}
	if had := c.tables[number]; had == nil || had.table != t || had.cursor.Err() != nil {
		c.tables[number] = &tableRun{source: one, number: uint32(number), hints: s.order.Hints, table: t, cursor: t.Table.Cursor()}
	}
	return c.tables[number], nil
}
