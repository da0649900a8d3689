package main

import (
	"fmt"
	"path/filepath"
	"testing"
)

const testKeys, testValueSize = 700, 40

// store is a rival's under test, with the version that each key's value has to have.
type store struct {
	t *testing.T
	rival
	class
	dir      string
	engine   engine
	data     *data
	source   *source
	versions []uint64
}

func (s *store) reopen() {
	s.t.Helper()
	if s.engine != nil {
		s.must(s.engine.close())
	}
	e, err := s.open(s.dir, s.class)
	s.must(err)
	s.engine = e
	if g, ok := e.(groupWriter); ok {
		g.expectWriters(1)
	}
}

func (s *store) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// put puts each key in turn from one number to below another, one by one.
func (s *store) put(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.must(s.engine.put(s.source.pair(i)))
		s.versions[i] = s.source.version
	}
}

// putMany does the same in one batch.
func (s *store) putMany(from, to int) {
	s.t.Helper()
	i := from - 1
	keys, values := s.source.pairs(to-from, func() int { i++; return i })
	s.must(s.engine.putMany(keys, values))
	for j := range keys {
		s.versions[from+j] = versionOf(values[j])
	}
}

// check reads everything in every way.
func (s *store) check() {
	s.t.Helper()
	var keys [][]byte
	for i, want := range s.versions {
		key := appendKey(nil, i)
		keys = append(keys, key)
		right := func(value []byte) error {
			if err := s.data.checkValue(i, value); err != nil || versionOf(value) != want {
				return fmt.Errorf("key %d has version %d, want %d, %v", i, versionOf(value), want, err)
			}
			return nil
		}
		found, err := s.engine.view(key, right)
		s.must(must(found, err, i))
		value, found, err := s.engine.appendGet([]byte("before"), key)
		s.must(must(found, err, i))
		s.must(right(value[len("before"):]))
	}
	viewed := map[uint64]bool{}
	s.must(s.engine.viewMany(keys, func(value []byte) error {
		viewed[versionOf(value)] = true
		return nil
	}))
	iterated := map[uint64]bool{}
	s.must(s.engine.each(func(key, value []byte) error {
		iterated[versionOf(value)] = len(key) == keySize
		return nil
	}))
	for i, want := range s.versions {
		if !viewed[want] || !iterated[want] {
			s.t.Errorf("key %d with the others: %v, iterated over: %v", i, viewed[want], iterated[want])
		}
	}
	if len(iterated) != len(s.versions) {
		s.t.Errorf("iterated over %d pairs of %d", len(iterated), len(s.versions))
	}
	if found, err := s.engine.view(appendKey(nil, absent), nil); found || err != nil {
		s.t.Errorf("an absent key: %v, %v", found, err)
	}
	if value, found, err := s.engine.appendGet([]byte("before"), appendKey(nil, absent)); string(value) != "before" || found || err != nil {
		s.t.Errorf("a copy of an absent key: %q, %v, %v", value, found, err)
	}
}

// What an engine is said to be faster at it must do at all.
func TestEnginesStoreAndGiveBack(t *testing.T) {
	for _, r := range rivals {
		for c, name := range map[class]string{survivesKill: "kill", survivesPowerLoss: "power loss"} {
			t.Run(r.name+", "+name, func(t *testing.T) {
				t.Parallel()
				d := newData(testKeys, testValueSize)
				s := &store{t: t, rival: r, class: c, dir: filepath.Join(t.TempDir(), "store"),
					data: d, source: d.newSource(1, 1), versions: make([]uint64, testKeys)}
				s.reopen()
				defer func() { s.must(s.engine.close()) }()
				s.putMany(0, testKeys)
				s.put(100, 130)
				s.putMany(120, 220)
				s.check()
				if !r.inMemory {
					s.reopen()
					s.check()
				}
				s.put(200, 210)
				s.must(s.engine.settle())
				s.check()
			})
		}
	}
}

// Writers that are expected write together, and each sees its own.
func TestEnginesTakeManyDurableWriters(t *testing.T) {
	for _, r := range rivals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			d := newData(8, testValueSize)
			e, err := r.open(filepath.Join(t.TempDir(), "store"), survivesPowerLoss)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := e.close(); err != nil {
					t.Error(err)
				}
			}()
			if g, ok := e.(groupWriter); ok {
				g.expectWriters(d.keys)
			}
			put := workload{name: "put", goroutines: d.keys, once: func(e engine, s *source) (int, error) {
				i := int(s.stream)
				if err := e.put(s.pair(i)); err != nil {
					return 1, err
				}
				found, err := e.view(s.key, func(value []byte) error {
					if versionOf(value) != s.version {
						return fmt.Errorf("key %d has version %d after %d was put", i, versionOf(value), s.version)
					}
					return nil
				})
				return 1, must(found, err, i)
			}}
			if _, err := put.run(e, d, 1, 1); err != nil {
				t.Error(err)
			}
		})
	}
}
