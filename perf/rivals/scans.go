package main

import (
	"encoding/binary"
	"fmt"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// allScans are scans of everything.
var allScans = []struct {
	figure string
	span   workload.Span
}{
	{"scan all pairs in order", workload.Span{}},
	{"scan all keys in order", workload.Span{KeysOnly: true}},
	{"scan all pairs, the highest key first", workload.Span{Reverse: true}},
	{"scan all keys, the highest key first", workload.Span{Reverse: true, KeysOnly: true}},
}

const figureStep = "step over all pairs in order with a cursor"

// seeks are how many pairs are read after a seek.
var seeks = []int{1, 10, 50}

func figureSeek(n int) string { return fmt.Sprintf("seek and read %d, each time a new scan", n) }
func figureSeekOpen(n int) string {
	return fmt.Sprintf("seek and read %d, with a cursor that stays open", n)
}

// scanFigures are all figures about order, in the order of the table.
func scanFigures() (figures []string) {
	for _, s := range allScans {
		figures = append(figures, s.figure)
	}
	figures = append(figures, figureStep)
	for _, n := range seeks {
		figures = append(figures, figureSeek(n))
	}
	for _, n := range seeks {
		figures = append(figures, figureSeekOpen(n))
	}
	figures = append(figures, figurePrefix, figurePrefixKeys)
	for _, goroutines := range mixers {
		figures = append(figures, figureMix(goroutines), figureMix(goroutines)+", p99")
	}
	figures = append(figures, figureBeside, figureBesidePut)
	return append(figures, figureSwath...)
}

// seen checks the pairs of scans, and adds up the words of their values, so that each
// engine has to read them. It belongs to one goroutine.
type seen struct {
	*data
	span  workload.Span
	visit func(key, value []byte) error

	pairs, all int // of this scan, of all scans
	last       place
	first      []byte // the first key of this scan
	key        []byte
	sum        uint64
}

// place is what orders keys: the first 16 bytes differ between any two of the data.
type place struct{ high, low uint64 }

func placeOf(key []byte) place {
	return place{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])}
}

func (p place) before(other place) bool {
	return p.high < other.high || p.high == other.high && p.low < other.low
}

func (d *data) newSeen(span workload.Span) *seen {
	s := &seen{data: d, span: span}
	s.visit = s.pair
	return s
}

// begin is called before each scan.
func (s *seen) begin() { s.pairs = 0 }

func (s *seen) pair(key, value []byte) error {
	if len(key) != keySize {
		return fmt.Errorf("a key of %d bytes", len(key))
	}
	at := placeOf(key)
	if s.pairs == 0 {
		s.first = append(s.first[:0], key...)
	} else if s.span.Reverse && !at.before(s.last) || !s.span.Reverse && !s.last.before(at) {
		return fmt.Errorf("key %s is out of order", key)
	}
	s.last = at
	s.pairs++
	s.all++
	if s.span.KeysOnly {
		return nil
	}
	return s.read(key, value)
}

// ownEvery is how many values are checked by their length, until one is by its key.
const ownEvery = 64

func (s *seen) read(key, value []byte) error {
	if len(value) != s.valueSize {
		return fmt.Errorf("key %s has a value of %d bytes", key, len(value))
	}
	s.sum += sumOf(value)
	if s.all%ownEvery != 0 {
		return nil
	}
	if s.key = appendKey(s.key[:0], int(binary.LittleEndian.Uint64(value))); string(s.key) != string(key) {
		return fmt.Errorf("key %s has the value of key %s", key, s.key)
	}
	return nil
}

// sumOf adds up the words of a value.
func sumOf(value []byte) (sum uint64) {
	for at := 0; at+8 <= len(value); at += 8 {
		sum += binary.LittleEndian.Uint64(value[at:])
	}
	return sum
}

// everything times a scan of all keys, after one that does not count: an engine may
// prepare for scans after the first.
func (t *turn) everything(figure string, s *seen, scan func() error) error {
	if err := t.complete(s, scan); err != nil {
		return fmt.Errorf("%s: %w", figure, err)
	}
	t.awaitRest()
	took, err := timed(func() error { return t.complete(s, scan) })
	t.figures[figure] = took / float64(t.data.keys)
	return err
}

// complete checks that a scan visits every key.
func (t *turn) complete(s *seen, scan func() error) error {
	s.begin()
	if err := scan(); err != nil {
		return err
	}
	if s.pairs != t.data.keys {
		return fmt.Errorf("%d of %d pairs", s.pairs, t.data.keys)
	}
	return nil
}

// scan scans everything, in each way.
func (t *turn) scan() error {
	store := t.store.(workload.Ordered)
	for _, all := range allScans {
		s := t.data.newSeen(all.span)
		if err := t.everything(all.figure, s, func() error { return store.Scan(all.span, s.visit) }); err != nil {
			return err
		}
	}
	return t.withCursor(func(c workload.Cursor) error {
		s := t.data.newSeen(workload.Span{})
		return t.everything(figureStep, s, func() error { return c.Seek(nil, t.data.keys+1, s.visit) })
	})
}

// withCursor calls fn with a new cursor and closes it.
func (t *turn) withCursor(fn func(c workload.Cursor) error) error {
	c, err := t.store.(workload.Ordered).Cursor()
	if err != nil {
		return err
	}
	return firstOf(fn(c), c.Close())
}

// firstOf is the first of two errors.
func firstOf(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// seek reads some pairs from a random key on.
func (t *turn) seek() error {
	store := t.store.(workload.Ordered)
	for _, n := range seeks {
		scan := func(key []byte, n int, fn func(key, value []byte) error) error {
			return store.Scan(workload.Span{From: key, Limit: n}, fn)
		}
		if err := t.do([]work{t.seekWork(figureSeek(n), n, scan)}); err != nil {
			return err
		}
	}
	return t.withCursor(func(c workload.Cursor) error {
		for _, n := range seeks {
			if err := t.do([]work{t.seekWork(figureSeekOpen(n), n, c.Seek)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// seekWork is the work of one goroutine.
func (t *turn) seekWork(figure string, n int, seek func(key []byte, n int, fn func(key, value []byte) error) error) work {
	s := t.data.newSeen(workload.Span{})
	return work{figure, 1, func(_ workload.Store, from *source) (int, error) { return 1, s.seek(from, from.uniform(), n, seek) }}
}

// seek reads n pairs from the key of a number on, or fewer if it comes to the end.
func (s *seen) seek(from *source, number, n int, seek func(key []byte, n int, fn func(key, value []byte) error) error) error {
	s.begin()
	from.key = appendKey(from.key[:0], number)
	if err := seek(from.key, n, s.visit); err != nil {
		return err
	}
	if s.pairs < 1 || s.pairs > n || string(s.first) != string(from.key) {
		return fmt.Errorf("%d pairs from key %s on, the first is %s", s.pairs, from.key, s.first)
	}
	return nil
}
