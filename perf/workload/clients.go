package workload

import (
	"errors"
	"fmt"
	"math"
)

// One of every fullyEvery reads is checked in full, the others quickly.
const fullyEvery = 256

// reader reads keys and checks what it finds, for one goroutine.
type reader struct {
	data   Data
	store  Store
	choose chooser
	check  func(value []byte) error

	_          [apart]byte
	key, value []byte
	number     int
	reads      int
	_          [apart]byte
}

func (s *session) newReader(choose chooser) *reader {
	r := &reader{data: s.Data, store: s.store, choose: choose}
	r.key, r.value = make([]byte, 0, max(s.KeySize, 2*apart)), make([]byte, 0, max(s.ValueSize, 2*apart))
	r.check = func(value []byte) error {
		if r.reads++; r.reads%fullyEvery == 0 {
			return r.data.VerifyFully(r.number, value)
		}
		return r.data.Verify(r.number, value)
	}
	return r
}

func (r *reader) next() {
	r.number = r.choose()
	r.key = r.data.AppendKey(r.key[:0], r.number)
}

func (r *reader) view() error {
	r.next()
	return r.store.View(r.key, r.check)
}

func (r *reader) get() (err error) {
	r.next()
	if r.value, err = r.store.Get(r.value[:0], r.key); err != nil {
		return err
	}
	return r.check(r.value)
}

func (r *reader) has() error {
	r.next()
	has, err := r.store.Has(r.key)
	if err == nil && !has {
		err = fmt.Errorf("workload: key %d is missing", r.number)
	}
	return err
}

// absentFrom is the first of the numbers that no workload inserts.
const absentFrom = math.MaxInt/2 + 1

// miss reads an absent key.
func (r *reader) miss() error {
	r.number = absentFrom + r.choose()
	r.key = r.data.AppendKey(r.key[:0], r.number)
	switch value, err := r.store.Get(r.value[:0], r.key); {
	case err == nil:
		return fmt.Errorf("workload: absent key %d has a value of %d bytes", r.number, len(value))
	case errors.Is(err, ErrNotFound):
		return nil
	default:
		return err
	}
}

// many reads many keys at once, for one goroutine.
type many struct {
	reader  *reader
	store   ManyReader
	keys    [][]byte
	numbers []int
	check   func(i int, value []byte, err error) error
}

// together is how many keys a workload looks up at once.
const together = 64

func (s *session) newMany(store ManyReader, choose chooser) *many {
	m := &many{reader: s.newReader(choose), store: store, keys: make([][]byte, together), numbers: make([]int, together)}
	m.check = func(i int, value []byte, err error) error {
		if err != nil {
			return err
		}
		m.reader.number = m.numbers[i]
		return m.reader.check(value)
	}
	return m
}

func (m *many) get() (int, error) {
	for i := range m.keys {
		m.numbers[i] = m.reader.choose()
		m.keys[i] = m.reader.data.AppendKey(m.keys[i][:0], m.numbers[i])
	}
	return len(m.keys), m.store.GetMany(m.keys, m.check)
}

// writer puts new versions of keys, for one goroutine.
type writer struct {
	s      *session
	choose chooser
	pairs  []Pair
}

func (s *session) newWriter(choose chooser) *writer {
	return &writer{s: s, choose: choose, pairs: s.makePairs(1)}
}

func (s *session) makePairs(n int) []Pair {
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i].Value = make([]byte, s.ValueSize)
	}
	return pairs
}

// fill sets p to the next version of a key.
func (w *writer) fill(p *Pair, number int) {
	p.Key = w.s.AppendKey(p.Key[:0], number)
	w.s.Fill(p.Value, number, w.s.version.Add(1))
}

func (w *writer) put() error { return w.insert(w.choose()) }

func (w *writer) insert(number int) error {
	p := &w.pairs[0]
	w.fill(p, number)
	return w.s.store.Put(p.Key, p.Value)
}

// batch writes all its pairs at once.
func (w *writer) batch() (int, error) {
	for i := range w.pairs {
		w.fill(&w.pairs[i], w.choose())
	}
	return len(w.pairs), w.s.store.Write(w.pairs)
}
