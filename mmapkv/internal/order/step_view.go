package order

import (
	"bytes"

	"github.com/mmapkv/mmapkv/segment"
)

// A short scan takes most of its keys from the view, if there is one. It takes several at a time: all
// that come before the next key of the other runs.

// isViewed reports whether the runs stand, the view among them, and the scan is still short.
func (c *Cursor) isViewed() bool {
	if c.inBlock || c.sieving || len(c.runs) == 0 || !c.stands[0] || c.isLong() {
		return false
	}
	_, ok := c.runs[0].(*viewRun)
	return ok
}

// fillViewed is Fill for at least one entry, unless there is no more or an error. It goes on in the
// direction in which the cursor was moved last.
func (c *Cursor) fillViewed(into []Entry) (n int) {
	view := c.runs[0].(*viewRun)
	view.expect(len(into), c.heading)
	moved := c.leave()
	if !moved {
		moved = c.dropView() && c.seekBehind(c.heading)
	} else if other := c.nearest(1); !c.stands[0] || other >= 0 && !c.isBefore(0, other) {
		c.steps++
		moved = c.settle(true) && c.take()
	} else {
		return c.takeViewed(view, into, other)
	}
	if !moved {
		return 0
	}
	into[0] = c.keep()
	return 1
}

// isBefore reports whether a run stands at a key that comes before that of another run.
func (c *Cursor) isBefore(run, other int) bool {
	if c.ranks[run] != c.ranks[other] {
		return c.ranks[run] < c.ranks[other] == (c.heading == forward)
	}
	return isBefore(c.runs[run].key(), c.runs[other].key(), c.heading)
}

// isBefore reports whether a key comes before another one.
func isBefore(key, other []byte, heading heading) bool {
	order := bytes.Compare(key, other)
	return order < 0 && heading == forward || order > 0 && heading == backward
}

// takeViewed is fillViewed if the next key is one of the view. All that it takes come before the one where
// another run stands; -1: none does.
func (c *Cursor) takeViewed(view *viewRun, into []Entry, other int) (n int) {
	var before []byte // nil: anything
	if other >= 0 {
		before = c.runs[other].key()
		if before == nil {
			before = []byte{} // the empty key
		}
	}
	n, err := view.take(&c.kept, into, before, c.heading)
	c.at, c.chosen, c.valid = into[n-1], 0, true
	c.steps += n
	if err != nil {
		c.err = err
		if c.valid = false; c.dropView() && c.seekBehind(c.heading) {
			into[n] = c.keep()
			n++
		}
		return n
	}
	c.ranks[0] = c.rank(view.key())
	return n
}

// expect requests the parts of the next n keys, unless it has done so. The next move requests none.
func (r *viewRun) expect(n int, heading heading) {
	from, to := max(r.i+1, 0), min(r.i+1+n, r.view.count)
	if heading == backward {
		from, to = max(r.i-n, 0), r.i
	}
	r.expected = true
	had := span{r.aheadFrom, r.aheadTo}
	r.aheadFrom, r.aheadTo = from, to
	switch {
	case from >= had.from && from <= had.to:
		from = had.to
	case to >= had.from && to <= had.to:
		to = had.from
	}
	r.prefetch(from, to)
}

// span is a range of keys.
type span struct{ from, to int }

// take fills into with the entries from the one where the run stands on, as long as they come before
// a key; nil: all. It takes the first one in any case. The keys are in the batch. The run then stands at the
// last one that it took or, if that is not the last one before the key, behind that.
func (r *viewRun) take(b *segment.Batch, into []Entry, before []byte, heading heading) (n int, err error) {
	step := 1
	if heading == backward {
		step = -1
	}
	b.Add(r.at)
	for {
		r.at = b.Entries[len(b.Entries)-1]
		r.entry(&into[n])
		n++
		i := r.i + step
		if n == len(into) || i < 0 || i >= r.view.count {
			return n, nil
		}
		table, part, entry := r.view.locate(i)
		if !r.cursor(table).GatherAt(part, entry, b) {
			return n, r.failed(table)
		}
		e := &b.Entries[len(b.Entries)-1]
		if before != nil && !isBefore(e.Key, before, heading) || e.Flags&segment.Tombstone != 0 {
			_, err := r.stand(i)
			return n, err
		}
		r.i, r.table = i, table
	}
}
