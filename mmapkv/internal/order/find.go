package order

import (
	"bytes"
	"sync"

	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// Find returns the newest record of a key in the State, with the given key as its Key. ok is false if
// the key is absent. Find merges nothing: it asks the runs one after the other, the youngest first,
// and the first one that has the key decides. So it opens, and sorts, only what is younger than that.
func (s *State) Find(key []byte) (e Entry, ok bool, err error) {
	s.order.noteUse()
	c := s.Cursor() // for what it has of the tables; it does not move
	defer c.Close()
	for {
		ok, err = s.find(c, key, &e)
		if err != errView {
			break
		}
		// The view is broken now, so the tables are asked next.
	}
	if !ok || err != nil || e.Flags&segment.Tombstone != 0 {
		return Entry{}, false, err
	}
	e.Key = key
	return e, true, nil
}

// find returns the newest entry of a key, which may be a tombstone. A view has none of those.
func (s *State) find(c *Cursor, key []byte, e *Entry) (bool, error) {
	v, first := s.anyView(), 0
	if v != nil {
		first = len(v.sources)
	}
	in := finding{c: c, key: key, hash: s.order.Hash(key)}
	defer in.stepFilter(s.order.Hash)
	if number := len(s.plan.sources); number > first+1 {
		prefetchFilters(s.plan.sources[first:], in.hash)
	}
	for number := len(s.plan.sources) - 1; number >= first; number-- {
		if found, err := s.findIn(&in, number, e); found || err != nil {
			return found, err
		}
	}
	if v == nil {
		return false, nil
	}
	if c.view == nil || c.view.view != v {
		c.view = newViewRun(v)
	}
	found, err := c.view.seekGE(key)
	if err != nil || !found || !bytes.Equal(c.view.key(), key) {
		return false, err
	}
	c.view.entry(e)
	return true, nil
}

// anyView returns the State's view, or else one that was made after the State was captured, if the
// State has all records of its files.
func (s *State) anyView() *view {
	v := s.view
	if v == nil {
		v = s.plan.view.Load()
	}
	if v == nil || v.broken.Load() || v.seq > s.seq {
		return nil
	}
	return v
}

// findIn is find in one source, which has a number in the plan.
func (s *State) findIn(in *finding, number int, e *Entry) (bool, error) {
	one, i := s.plan.sources[number], number-(len(s.plan.sources)-len(s.rest)) // i is negative in the State's view, whose files are all sealed
	if i >= 0 && s.ends[i].limit <= one.file.DataStart {
		return false, nil
	}
	if end, sealed := one.sealed(&s.order.Catalog.Files); sealed && end.Seq <= s.seq {
		t, err := s.openTable(one, number, in.c)
		if err != nil {
			return false, err
		}
		return in.askTable(t, e)
	}
	t, err := s.sorted(i)
	if err != nil {
		return false, err
	}
	r := finders.Get().(*sortedRun)
	defer r.giveBack()
	for n := len(t.runs) - 1; n >= 0; n-- {
		r.reset(one.file, uint32(number), t.runs[n], s.seq)
		if found, err := r.findNewest(in.key); err != nil {
			return false, err
		} else if found {
			r.entry(e)
			return true, nil
		}
	}
	return false, nil
}

// finding is one Find.
type finding struct {
	c    *Cursor // has cursors of the tables
	key  []byte
	hash uint64

	unfiltered *source     // the youngest that was asked without a filter
	table      *hints.Hint // of that source
}

// askTable looks for the key in a table, unless the table's filter says that it is not there.
func (in *finding) askTable(r *tableRun, e *Entry) (bool, error) {
	f := r.source.filterOf(r.table)
	if f != nil && !f.mayHave(in.hash) {
		return false, nil
	}
	found, err := r.moved(r.cursor.Find(in.key), func() bool { return r.cursor.Find(in.key) })
	if found {
		r.entry(e)
	}
	if f == nil && in.unfiltered == nil {
		in.unfiltered, in.table = r.source, r.table
	}
	return found, err
}

// stepFilter adds keys to the filter of a table that was asked without one.
func (in *finding) stepFilter(hash func(key []byte) uint64) {
	if in.unfiltered != nil {
		in.unfiltered.stepFilter(in.table, hash)
	}
}

// finders are runs that no Find uses.
var finders = sync.Pool{New: func() any { return new(sortedRun) }}

// giveBack gives r back to finders. It forgets the file, which could otherwise not be collected.
func (r *sortedRun) giveBack() {
	r.forget()
	finders.Put(r)
}

// findNewest moves to the newest record of a key that counts, if there is one.
func (r *sortedRun) findNewest(key []byte) (found bool, err error) {
	err = r.heads.within(func() error {
		i, err := r.find(key)
		if i == len(r.places) && err == nil {
			return nil
		}
		if err == nil {
			err = r.heads.read(r.places[i])
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(r.heads.key, key) {
			return nil
		}
		if r.heads.record.Seq <= r.seq {
			r.i, found = i, true
			return nil
		}
		r.last = append(r.last[:0], key...)
		end, err := r.endOf(i)
		if err == nil {
			found, err = r.newest(i, end)
		}
		return err
	})
	return found, err
}
