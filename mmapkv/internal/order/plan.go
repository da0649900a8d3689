package order

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// plan is a set whose files are held together, for all States of that set. The Order holds the
// plan of the last set as well, so that a State costs no count per file.
type plan struct {
	set     *catalog.FileSet
	sources []*source             // of the set's files, oldest first
	holds   int                   // States, and the Order while it is the current one; Order.mu guards it
	idle    []*Cursor             // closed ones, to be used again; Order.mu guards them
	view    atomic.Pointer[view]  // of the first sources; nil: none
	last    atomic.Pointer[State] // that was captured, for the next one with its number; nil: none
}

// maxIdle is how many closed cursors a plan keeps.
const maxIdle = 4

// usedCursor returns a closed cursor of a plan, nil if there is none.
func (o *Order) usedCursor(p *plan) *Cursor {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c
}

// leaveCursor gives a closed cursor to its plan.
func (o *Order) leaveCursor(p *plan, c *Cursor) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(p.idle) < maxIdle {
		p.idle = append(p.idle, c)
	}
}

// planOf returns the plan of a set, held once more; nil if a file of the set is retired.
func (o *Order) planOf(set *catalog.FileSet) *plan {
	o.mu.Lock()
	if p := o.current; p != nil && p.set == set {
		p.holds++
		o.mu.Unlock()
		return p
	}
	o.mu.Unlock()

	p := &plan{set: set, holds: 1}
	for i, f := range set.Order {
		if !f.Acquire() {
			for _, held := range set.Order[:i] {
				held.Release()
			}
			return nil
		}
	}
	o.mu.Lock()
	isCurrent := o.Catalog.Set() == set // otherwise Forget may have been called already
	for _, f := range set.Order {
		s := o.sources[f]
		if s == nil {
			s = &source{file: f, forgotten: !isCurrent}
			if isCurrent {
				o.sources[f] = s
			}
		}
		s.plans++
		p.sources = append(p.sources, s)
	}
	var done []ended
	if isCurrent {
		done = o.letGoLocked(o.current)
		p.holds++
		o.current = p
		if v := o.view; v != nil && v.covers(p.sources) {
			p.view.Store(v)
		}
	}
	o.mu.Unlock()
	end(done)
	return p
}

// letGo ends one hold of a plan.
func (o *Order) letGo(p *plan) {
	o.mu.Lock()
	done := o.letGoLocked(p)
	o.mu.Unlock()
	end(done)
}

// letGoLocked is letGo, and returns what must be ended once mu is unlocked.
func (o *Order) letGoLocked(p *plan) (done []ended) {
	if p == nil {
		return nil
	}
	if p.holds--; p.holds > 0 {
		return nil
	}
	for _, s := range p.sources {
		done = append(done, ended{file: s.file})
		if s.plans--; s.plans == 0 && s.forgotten {
			done = append(done, ended{source: s})
		}
	}
	return done
}

// ended is a file that is held once less, or a source that nobody uses any more.
type ended struct {
	file   *catalog.File
	source *source
}

func end(all []ended) {
	for _, one := range all {
		if one.file != nil {
			one.file.Release()
		} else {
			one.source.close()
		}
	}
}
