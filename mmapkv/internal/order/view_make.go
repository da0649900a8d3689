package order

import (
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// A view is made in the background, and only in a store that is scanned: of many tables, or because
// scans pass many entries that it would leave out. It is dropped when one of its files is about to
// be retired; States that have it keep it. Until another is made, scans work on the tables. However
// often compaction retires files, making views takes at most a tenth of one processor's time, unless
// one takes longer than six seconds. Nobody waits for any of this.

const (
	viewTables    = 8  // that a view is made for, at least
	viewMore      = 4  // tables beside the view, with which it is made again
	viewRests     = 10 // times as long as it takes to make one, before the next is made
	viewPauseKeys = 1 << 10
	viewVain      = 1 << 15 // entries passed in vain, that a view is made for which leaves them out
)

// noteUse is called when a cursor is opened.
func (o *Order) noteUse() {
	if o.used.Load() {
		return
	}
	o.used.Store(true)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// KeepView makes views until stop is closed. It looks whether one is due at most once a second, when the
// store was scanned since the last look. pause is called while a view is made, and ends that with an error. If a table
// cannot be read, there is no view: scans come to the damage as well, and report it.
func (o *Order) KeepView(stop <-chan struct{}, pause func() error) {
	for {
		select {
		case <-stop:
			return
		case <-o.wake:
		}
		began, paused := time.Now(), time.Duration(0)
		_, _ = o.StepView(func() error {
			from := time.Now()
			err := pause()
			paused += time.Since(from)
			return err
		})
		timer := time.NewTimer(min(max(viewLook, viewRests*(time.Since(began)-paused)), viewRest))
		select {
		case <-stop:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// viewLook is how long KeepView waits between two looks, and viewRest the longest that it waits after
// making a view.
const (
	viewLook = time.Second
	viewRest = time.Minute
)

// StepView makes a view if one is due, and reports whether it did. If one is due and it could not make
// it, the next call tries again, whether or not the store is scanned meanwhile.
func (o *Order) StepView(pause func() error) (did bool, err error) {
	if !o.used.Swap(false) {
		return false, nil
	}
	state, err := o.Capture()
	if err != nil {
		return false, nil // the store is closed
	}
	defer state.Release()
	sources := state.settled()
	if !o.isDue(state, len(sources)) {
		return false, nil
	}
	if did, err = o.makeView(state, sources, pause); !did {
		o.noteUse()
	}
	return did, err
}

// settled returns the first sources, all of whose records the State has, and which are sealed.
func (s *State) settled() []*source {
	sources := s.plan.sources
	for i, one := range sources {
		if end, sealed := one.sealed(&s.order.Catalog.Files); !sealed || end.Seq > s.seq {
			return sources[:i]
		}
	}
	return sources
}

// isDue reports whether to make a view of so many tables.
func (o *Order) isDue(s *State, tables int) bool {
	least, more := viewTables, viewMore
	if o.ViewFrom > 0 {
		least, more = o.ViewFrom, 1
	}
	v := s.plan.view.Load()
	if v == nil || v.broken.Load() {
		return tables >= least || tables > 0 && o.vain.Load() >= viewVain
	}
	return tables >= len(v.sources)+more || o.vain.Load() >= viewVain && v.lags(tables)
}

// lags reports whether a view of so many tables, made now, would have other keys.
func (v *view) lags(tables int) bool {
	return tables > len(v.sources) || slices.ContainsFunc(v.sources, func(s *source) bool { return s.file.Died.Load() > v.seq })
}

// makeView makes a view of sources, the first ones of a State.
func (o *Order) makeView(s *State, sources []*source, pause func() error) (bool, error) {
	began := time.Now()
	c := &Cursor{state: s, block: &block{indexed: true}, trusting: true}
	var tables []*hints.Hint
	for i, one := range sources {
		run, err := s.openTable(one, i, c)
		if err != nil {
			return false, err
		}
		c.runs, tables = append(c.runs, run), append(tables, run.table)
	}
	c.stands, c.ranks, c.opened = make([]bool, len(tables)), make([]uint64, len(tables)), true
	v := newView(slices.Clone(sources), tables)
	if !o.beginMaking(v) {
		return false, nil
	}
	defer o.endMaking()
	if err := v.fill(c, pause); err != nil || v.broken.Load() {
		return false, err
	}
	number, _ := o.capture() // after the marks were read: what made a record dead is counted by now
	v.seq = max(v.seq, number)
	o.vain.Store(0)
	v.took = time.Since(began)
	return o.install(v), nil
}

// fill adds all keys that a cursor over the tables comes to, but for those whose record is dead.
func (v *view) fill(c *Cursor, pause func() error) error {
	var last []byte
	if c.Last() {
		last = append(last, c.at.Key...)
	}
	ok := c.First()
	if ok {
		v.fences.common = slices.Clone(last[:commonSize(last, c.at.Key)])
	}
	marked := c.state.believesMarks()
	for n := 0; ok; ok = c.advance(forward) {
		if n++; n%viewPauseKeys == 1 {
			if err := pause(); err != nil {
				return err
			}
			if v.broken.Load() {
				return nil
			}
		}
		if marked && isSurelyDead(&c.at) {
			continue
		}
		table, index := c.tableEntry()
		v.add(c.at.Key, table, index)
	}
	for i, r := range c.runs {
		if r.(*tableRun).table != v.tables[i] {
			v.broken.Store(true) // it was damaged: the numbers of its entries may be others now
		}
	}
	v.noteNear(^uint64(0))
	v.ranks = nil
	v.places, v.fences.ranks = slices.Clone(v.places), slices.Clone(v.fences.ranks)
	return c.err
}

// isSurelyDead reports whether an entry's record is dead for all States from a number on that is
// captured later. What expires may be the record of a State that was judged by an earlier clock.
func isSurelyDead(e *Entry) bool {
	return e.Flags&segment.Expires == 0 && !e.File.Alive.Test(e.Offset) && !e.File.Damaged.Load()
}

// tableEntry is where the cursor's entry is: in which table, and its number there. All runs are
// tables, the block notes numbers, and the cursor has moved forward.
func (c *Cursor) tableEntry() (table, index int) {
	if c.inBlock {
		number := c.block.order[c.block.at-1]
		return int(c.block.ofSource[number]), int(c.block.indexes[number])
	}
	r := c.runs[c.chosen].(*tableRun)
	return int(r.number), r.cursor.Index()
}

// beginMaking notes the view that is being made, unless there is one.
func (o *Order) beginMaking(v *view) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.making != nil {
		return false
	}
	o.making = v
	return true
}

func (o *Order) endMaking() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.making = nil
}

// install makes a view the one that States use from now on, unless one of its files was retired.
func (o *Order) install(v *view) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v.broken.Load() || slices.ContainsFunc(v.sources, func(s *source) bool { return s.forgotten }) {
		return false
	}
	o.view = v
	o.made.ViewsMade++
	o.made.ViewsTook += v.took
	if p := o.current; p != nil && v.covers(p.sources) {
		p.view.Store(v)
	}
	return true
}

// dropViewLocked drops the view that has a source, whose file is about to be retired.
func (o *Order) dropViewLocked(s *source) {
	if o.view != nil && slices.Contains(o.view.sources, s) {
		o.view = nil
	}
	if o.making != nil && slices.Contains(o.making.sources, s) {
		o.making.broken.Store(true)
	}
}
