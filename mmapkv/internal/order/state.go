package order

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// State is the state of the store after one commit. Its methods may be called concurrently, and
// its cursors used concurrently, until Release.
type State struct {
	order  *Order
	plan   *plan
	seq    uint64
	limits []int64                // of each source, by which all records of the State end
	tails  []atomic.Pointer[tail] // of each source whose sorted records are used
}

// Entry is the newest record of a key in a State. Its key is in the cursor's own memory, and valid
// until its next move. Its Flags are those that a table keeps, and never say Tombstone.
type Entry struct {
	segment.HintEntry
	File *catalog.File // that has the record; the State holds it
}

func newState(o *Order, p *plan, seq uint64) *State {
	s := &State{order: o, plan: p, seq: seq, limits: make([]int64, len(p.sources)), tails: make([]atomic.Pointer[tail], len(p.sources))}
	for i, one := range p.sources {
		s.limits[i] = one.file.Limit()
	}
	return s
}

// Seq is the sequence number of the last commit in the State.
func (s *State) Seq() uint64 { return s.seq }

// Release ends the State. Its cursors must not be used any more. It is called once.
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

// open opens the runs of the State, oldest first: tables of the sources that have ended, and sorted
// records of the others. tables are of each source the run that was opened before, if there is one.
func (s *State) open(runs []run, tables []*tableRun) ([]run, error) {
	for i, one := range s.plan.sources {
		if s.limits[i] <= one.file.DataStart {
			continue
		}
		if end, sealed := one.sealed(&s.order.Catalog.Files); sealed && end.Seq <= s.seq {
			t, err := one.openTable(s.order.Hints, nil)
			if err != nil {
				return nil, err
			}
			if tables[i] == nil || tables[i].table != t || tables[i].cursor.Err() != nil {
				tables[i] = &tableRun{source: one, hints: s.order.Hints, table: t, cursor: t.Table.Cursor()}
			}
			runs = append(runs, tables[i])
			continue
		}
		t := s.tails[i].Load()
		if t == nil {
			var err error
			if t, err = one.sort(s.order.Hints, s.limits[i]); err != nil {
				return nil, err
			}
			s.tails[i].Store(t)
		}
		for _, sorted := range t.runs {
			runs = append(runs, &sortedRun{heads: heads{file: one.file}, places: sorted, seq: s.seq})
		}
	}
	return runs, nil
}
