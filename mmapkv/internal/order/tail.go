package order

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// tail is the sorted records of a file up to an offset. Each run is sorted by key, and has all
// records of a range of the file: of one key the newest, which is the last one in the file, comes
// first. The runs are in the order of their ranges. A tail never changes.
type tail struct {
	runs []*sorted
	upTo int64
}

// sorted is one run of records.
type sorted struct {
	places []place
	fences fences // none if a record could not be read
}

// newSorted returns a run of records of a file. It reads some of them.
func newSorted(s *source, places []place) *sorted {
	run := &sorted{places: places}
	h := heads{file: s.file}
	if h.read(places[0]) != nil {
		return run // who comes to the record will say so
	}
	first := bytes.Clone(h.key)
	if h.read(places[len(places)-1]) != nil {
		return run
	}
	f := fences{common: slices.Clone(first[:commonSize(first, h.key)])}
	err := h.within(func() error {
		for i := 0; i < len(places); i += fenceKeys {
			if err := h.read(places[i]); err != nil {
				return err
			}
			f.add(h.key)
		}
		return nil
	})
	if err == nil {
		run.fences = f
	}
	return run
}

// sort returns the file's sorted records up to limit, and perhaps further. Whoever sorts shares
// what is sorted, and is waited for by those who need it as well.
func (s *source) sort(h *hints.Hints, limit int64) (*tail, error) {
	if t := s.tail.Load(); t != nil && t.upTo >= limit {
		return t, nil
	}
	s.sorting.Lock()
	defer s.sorting.Unlock()
	t := s.tail.Load()
	if t == nil {
		t = &tail{upTo: s.file.DataStart}
	}
	for t.upTo < limit {
		c := collector{}
		upTo, err := c.collect(s, h, t.upTo, limit)
		if err != nil {
			return nil, err
		}
		t = &tail{runs: slices.Clone(t.runs), upTo: upTo}
		s.add(t, c.sorted())
		s.tail.Store(t)
		if s.end.Load() != nil {
			s.tail.Store(nil) // it is sealed: only older States still need what is sorted
		}
	}
	return t, nil
}

const (
	maxCollected = 1 << 17 // records that are sorted at a time
	maxKeyBytes  = 4 << 20 // of their keys together, beside the last one
)

// collector collects records of a file in order to sort them.
type collector struct {
	records []collected
	keys    []byte
	same    int // how many of their first bytes all keys share
}

// collected is a record that is to be sorted.
type collected struct {
	at  place
	end uint32 // of its key, in keys; the key begins where the one before ends
}

// sortItem stands for a record while they are sorted.
type sortItem struct {
	prefix uint64 // the first 8 bytes of the key after what all have in common
	number uint32 // of the record; a higher one is newer
}

// collect collects the records from one offset on, up to limit or until it has enough. It returns
// where it stopped.
func (c *collector) collect(s *source, h *hints.Hints, from, limit int64) (upTo int64, err error) {
	w := segment.NewWalker(s.file.Handle(), s.file.Salt, from, limit)
	var r segment.Record
	for !c.full() {
		offset := w.Offset()
		err := w.Next(&r)
		if err == io.EOF {
			return limit, nil
		}
		if errors.Is(err, segment.ErrBounds) || errors.Is(err, segment.ErrChecksum) {
			return c.scan(s, h, offset, limit)
		}
		if err != nil {
			return 0, s.failed(offset, err)
		}
		c.add(offset, r.Key)
	}
	return w.Offset(), nil
}

// scan is collect past damage that Open has found and reported. Other damage is an error, and so is
// damage to a record that the file's hint knows: an older record of its key must not come instead.
// scan collects all up to limit, however much that is.
func (c *collector) scan(s *source, h *hints.Hints, from, limit int64) (upTo int64, err error) {
	if !s.file.Damaged.Load() {
		return 0, s.failed(from, segment.ErrChecksum)
	}
	var damages []segment.Damage
	err = segment.NewScanner(s.file.Handle(), s.file.Salt, from, limit).Each(func(e segment.Entry) bool {
		c.add(e.Offset, e.Key)
		return true
	}, func(d segment.Damage) { damages = append(damages, d) })
	known := false
	if err == nil {
		known, err = h.Knows(s.file, limit, damages)
	}
	if err == nil && known {
		err = errLost
	}
	if err != nil {
		return 0, s.failed(from, err)
	}
	return limit, nil
}

func (c *collector) full() bool {
	return len(c.records) >= maxCollected || len(c.keys) >= maxKeyBytes
}

func (c *collector) add(offset int64, key []byte) {
	if len(c.records) == 0 {
		c.same = len(key)
	} else if first := c.key(0)[:c.same]; !bytes.HasPrefix(key, first) {
		c.same = commonSize(key, first)
	}
	c.keys = append(c.keys, key...)
	c.records = append(c.records, collected{place(offset / segment.Alignment), uint32(len(c.keys))})
}

// sorted sorts the records.
func (c *collector) sorted() []place {
	items := make([]sortItem, len(c.records))
	for i := range items {
		items[i] = sortItem{keyPrefix(c.key(uint32(i))[c.same:]), uint32(i)}
	}
	slices.SortFunc(items, func(x, y sortItem) int {
		if x.prefix != y.prefix {
			return cmp.Compare(x.prefix, y.prefix)
		}
		return cmp.Or(bytes.Compare(c.key(x.number), c.key(y.number)), cmp.Compare(y.number, x.number))
	})
	places := make([]place, len(items))
	for i, item := range items {
		places[i] = c.records[item.number].at
	}
	return places
}

// key is the key of a record.
func (c *collector) key(number uint32) []byte {
	from := uint32(0)
	if number > 0 {
		from = c.records[number-1].end
	}
	return c.keys[from:c.records[number].end]
}

// add adds a run, merged with the last ones as long as one is not at least twice as long as the next. A
// run that cannot be read stays as it is: whoever needs it will say so.
func (s *source) add(t *tail, places []place) {
	if len(places) == 0 {
		return
	}
	for n := len(t.runs); n >= 1 && len(t.runs[n-1].places) < 2*len(places); n = len(t.runs) {
		merged, err := s.merge(t.runs[n-1].places, places)
		if err != nil {
			break
		}
		t.runs, places = t.runs[:n-1], merged
	}
	t.runs = append(t.runs, newSorted(s, places))
}

// merge merges two runs, the second of which has the newer records.
func (s *source) merge(older, newer []place) ([]place, error) {
	merged := make([]place, 0, len(older)+len(newer))
	x, y := heads{file: s.file}, heads{file: s.file}
	readX, readY := true, true
	for len(older) > 0 && len(newer) > 0 {
		if readX {
			if err := x.read(older[0]); err != nil {
				return nil, err
			}
		}
		if readY {
			if err := y.read(newer[0]); err != nil {
				return nil, err
			}
		}
		readX = bytes.Compare(x.key, y.key) < 0
		if readY = !readX; readX {
			merged, older = append(merged, older[0]), older[1:]
		} else {
			merged, newer = append(merged, newer[0]), newer[1:]
		}
	}
	return append(append(merged, older...), newer...), nil
}
