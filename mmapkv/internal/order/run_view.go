package order

import (
	"bytes"
	"errors"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/segment"
)

// viewRun is the keys of a view.
type viewRun struct {
	view    *view
	cursors []*segment.Cursor // of each table that was read
	asked   []int32           // of each table, the part that was requested last
	i       int               // the key that it stands at
	table   int               // that has its entry
	at      segment.HintEntry

	split   []byte // the last splitter
	splitAt int    // the first key that is not below it
	hasAt   bool   // splitAt is known
	part    segment.Part

	dead []bool // of each table: none of its entries is one of the State's; empty: not known

	sought             sought
	aheadFrom, aheadTo int  // the keys whose parts were requested last
	expected           bool // the next move requests no parts
}

// errView says that the view cannot be read. The Cursor goes on without it.
var errView = errors.New("the view cannot be read")

func newViewRun(v *view) *viewRun {
	return &viewRun{view: v, cursors: make([]*segment.Cursor, len(v.tables)), asked: make([]int32, len(v.tables))}
}

// cursor returns the cursor over a table.
func (r *viewRun) cursor(table int) *segment.Cursor {
	c := r.cursors[table]
	if c == nil {
		c = r.view.tables[table].Cursor()
		r.cursors[table] = c
	}
	return c
}

// failed is why a part of a table could not be read.
func (r *viewRun) failed(table int) error {
	err := r.cursors[table].Err()
	r.cursors[table] = nil
	if errno.Scarce(err) {
		return err
	}
	r.view.broken.Store(true)
	return errView
}

// stand moves to the i-th key, if there is one.
func (r *viewRun) stand(i int) (bool, error) {
	if i < 0 || i >= r.view.count {
		return false, nil
	}
	table, part, entry := r.view.locate(i)
	c := r.cursor(table)
	if !c.StandAt(part, entry) {
		return false, r.failed(table)
	}
	r.i, r.table, r.at = i, table, c.Entry()
	return true, nil
}

// search returns the first key that is not below the given one. The run then stands nowhere.
func (r *viewRun) search(key []byte) (int, error) {
	from, to, known := r.sought.take()
	if !known {
		from, to = r.view.fences.candidates(key, r.view.count)
		from, to = r.view.narrow(key, from, to)
	}
	for from < to {
		middle := int(uint(from+to) / 2)
		table, part, entry := r.view.locate(middle)
		order, ok := r.cursor(table).Compare(part, entry, key)
		switch {
		case !ok:
			return 0, r.failed(table)
		case order < 0:
			from = middle + 1
		default:
			to = middle
		}
	}
	return to, nil
}

// prepare requests the parts that the first steps of a search read.
func (r *viewRun) prepare(key []byte, wave int) {
	switch wave {
	case 0:
		from, to := r.view.fences.candidates(key, r.view.count)
		r.sought = sought{from, to, true}
		r.view.request(from, to)
	case 1:
		r.sought.from, r.sought.to = r.view.narrow(key, r.sought.from, r.sought.to)
		r.view.eachLikely(r.sought, r.view.requestPlace)
	case 2:
		r.view.eachLikely(r.sought, r.requestOf)
	}
}

// prefetch requests the parts of the keys [from, to) that are not at hand.
func (r *viewRun) prefetch(from, to int) {
	for i := from; i < to; i++ {
		r.view.requestPlace(i)
	}
	for i := from; i < to; i++ {
		r.requestOf(i)
	}
}

// requestOf requests the part of the i-th key.
func (r *viewRun) requestOf(i int) {
	table, part, _ := r.view.locate(i)
	r.request(table, part)
}

// request requests a part that is not at hand.
func (r *viewRun) request(table, part int) {
	if r.asked[table] != int32(part) && !r.cursor(table).HasPart(part) {
		r.asked[table] = int32(part)
		r.view.tables[table].Prefetch(r.view.tables[table].PartBytes(part))
	}
}

func (r *viewRun) key() []byte { return r.at.Key }

func (r *viewRun) entry(e *Entry) { *e = Entry{r.at, r.view.sources[r.table].file} }

func (r *viewRun) seekGE(key []byte) (bool, error) {
	i, err := r.search(key)
	if err != nil {
		return false, err
	}
	return r.stand(i)
}

func (r *viewRun) seekLast() (bool, error) { return r.stand(r.view.count - 1) }

func (r *viewRun) next() (bool, error) {
	r.prefetchAhead(r.i+1, r.i+1+stepsAhead)
	return r.stand(r.i + 1)
}

func (r *viewRun) prev() (bool, error) {
	r.prefetchAhead(r.i-stepsAhead, r.i)
	return r.stand(r.i - 1)
}

// stepsAhead is for how many steps parts are requested ahead.
const stepsAhead = 8

// prefetchAhead requests the parts of the keys [from, to), unless it has requested most of them.
func (r *viewRun) prefetchAhead(from, to int) {
	if r.expected {
		r.expected = false
		return
	}
	if from >= r.aheadFrom && from < r.aheadTo && to > r.aheadFrom && to <= r.aheadTo+stepsAhead/2 {
		return
	}
	r.aheadFrom, r.aheadTo = from, to
	r.prefetch(max(from, 0), min(to, r.view.count))
}

func (r *viewRun) ahead(dst []byte, n int, heading heading) ([]byte, bool) {
	i := r.i + n
	if heading == backward {
		i = r.i - n
	}
	if i < 0 || i >= r.view.count {
		return dst, false
	}
	table, part, entry := r.view.locate(i)
	if r.view.tables[table].Part(part, &r.part) != nil {
		return dst, false // who comes to the part will say so
	}
	e, ok := r.part.At(entry)
	dst = append(dst, e.Key...)
	if ok {
		r.split, r.splitAt, r.hasAt = append(r.split[:0], dst...), i, true
	}
	return dst, ok
}

// findSplit returns the first key that is not below a splitter.
func (r *viewRun) findSplit(split []byte) (at int, err error) {
	if r.hasAt && bytes.Equal(r.split, split) {
		return r.splitAt, nil
	}
	if at, err = r.search(split); err == nil {
		r.split, r.splitAt, r.hasAt = append(r.split[:0], split...), at, true
	}
	return at, err
}

func (r *viewRun) gather(b *block, split []byte, heading heading) (more, stands bool, err error) {
	from, to, next := r.i, r.view.count, 0
	if heading == backward {
		from, to = 0, r.i+1
	}
	if split != nil {
		at, err := r.findSplit(split)
		if err != nil {
			return false, false, err
		}
		if heading == forward {
			to = max(at, from)
		} else {
			from = min(at, to)
		}
	}
	more = to-from > maxPiece
	if heading == forward {
		to = min(to, from+maxPiece)
		next = to
	} else {
		from = max(from, to-maxPiece)
		next = from - 1
	}
	if err := r.gatherRange(b, from, to); err != nil {
		return false, false, err
	}
	stands, err = r.stand(next)
	return more, stands, err
}

// gatherRange adds the keys [from, to) to a block, as a piece.
func (r *viewRun) gatherRange(b *block, from, to int) error {
	first := len(b.batch.Entries)
	var places [maxPiece]struct{ table, part, entry int }
	n := 0
	for i := from; i < to; i++ {
		at := &places[n]
		if at.table, at.part, at.entry = r.view.locate(i); len(r.dead) > 0 && r.dead[at.table] {
			b.skipped++
			continue
		}
		r.request(at.table, at.part)
		n++
	}
	for i := range places[:n] {
		at := &places[i]
		if !r.cursor(at.table).GatherAt(at.part, at.entry, &b.batch) {
			b.batch.Entries = b.batch.Entries[:first]
			b.ofSource = b.ofSource[:first]
			return r.failed(at.table)
		}
		b.ofSource = append(b.ofSource, uint32(at.table))
	}
	b.addPiece(first, 0)
	return nil
}
