package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mmapkv/mmapkv/perf/workload"
)

const testKeys, testValueSize = 700, 40

// tested is a rival's store, with the expected version of each key's value.
type tested struct {
	t *testing.T
	rival
	survives workload.Class
	dir      string
	store    workload.Store
	data     *data
	source   *source
	versions []uint64
}

func (s *tested) reopen() {
	s.t.Helper()
	if s.store != nil {
		s.must(s.store.Close())
	}
	e, err := s.open(s.dir, s.survives)
	s.must(err)
	s.store = e
	if g, ok := e.(groupWriter); ok {
		g.expectWriters(1)
	}
}

func (s *tested) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// put puts the keys with numbers in [from, to) one by one.
func (s *tested) put(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.must(s.store.Put(s.source.pair(i)))
		s.versions[i] = s.source.version
	}
}

// putMany does the same in one batch.
func (s *tested) putMany(from, to int) {
	s.t.Helper()
	i := from - 1
	pairs := s.source.pairs(to-from, func() int { i++; return i })
	s.must(s.store.Write(pairs))
	for j, p := range pairs {
		s.versions[from+j] = versionOf(p.Value)
	}
}

// check reads all keys in every way.
func (s *tested) check() {
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
		s.must(of(i, s.store.View(key, right)))
		value, err := s.store.Get([]byte("before"), key)
		s.must(of(i, err))
		s.must(right(value[len("before"):]))
		if has, err := s.store.Has(key); !has || err != nil {
			s.t.Errorf("has key %d: %v, %v", i, has, err)
		}
	}
	viewed := map[uint64]bool{}
	s.must(getMany(s.store, keys, func(value []byte) error {
		viewed[versionOf(value)] = true
		return nil
	}))
	iterated := map[uint64]bool{}
	s.must(s.store.Range(func(key, value []byte) error {
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
	listed := map[string]bool{}
	s.must(s.store.Keys(func(key []byte) error {
		listed[string(key)] = true
		return nil
	}))
	if len(listed) != len(s.versions) {
		s.t.Errorf("%d keys of %d", len(listed), len(s.versions))
	}
	none := appendKey(nil, absent)
	if err := s.store.View(none, nil); !errors.Is(err, workload.ErrNotFound) {
		s.t.Errorf("an absent key: %v", err)
	}
	if value, err := s.store.Get([]byte("before"), none); string(value) != "before" || !errors.Is(err, workload.ErrNotFound) {
		s.t.Errorf("a copy of an absent key: %q, %v", value, err)
	}
	if has, err := s.store.Has(none); has || err != nil {
		s.t.Errorf("has an absent key: %v, %v", has, err)
	}
	if err := getMany(s.store, [][]byte{none}, func([]byte) error { return nil }); err == nil {
		s.t.Error("an absent key of many is found")
	}
}

// A comparison means nothing unless each engine returns what was written.
func TestEnginesStoreAndGiveBack(t *testing.T) {
	for _, r := range rivals {
		for _, c := range []workload.Class{workload.Kill, workload.PowerLoss} {
			t.Run(fmt.Sprint(r.name, " ", c), func(t *testing.T) {
				t.Parallel()
				d := newData(testKeys, testValueSize)
				s := &tested{t: t, rival: r, survives: c, dir: t.TempDir(),
					data: d, source: d.newSource(1, 1), versions: make([]uint64, testKeys)}
				s.reopen()
				defer func() { s.must(s.store.Close()) }()
				s.putMany(0, testKeys)
				s.put(100, 130)
				s.putMany(120, 220)
				s.check()
				if !r.inMemory {
					s.reopen()
					s.check()
				}
				s.put(200, 210)
				s.must(compact(s.store))
				s.check()
			})
		}
	}
}

// Announced writers write together, and each sees its own write.
func TestEnginesTakeManyDurableWriters(t *testing.T) {
	for _, r := range rivals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			d := newData(8, testValueSize)
			e, err := r.open(t.TempDir(), workload.PowerLoss)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}()
			if g, ok := e.(groupWriter); ok {
				g.expectWriters(d.keys)
			}
			put := work{name: "put", goroutines: d.keys, once: func(e workload.Store, s *source) (int, error) {
				i := int(s.stream)
				if err := e.Put(s.pair(i)); err != nil {
					return 1, err
				}
				return 1, e.View(s.key, func(value []byte) error {
					if versionOf(value) != s.version {
						return fmt.Errorf("key %d has version %d after %d was put", i, versionOf(value), s.version)
					}
					return nil
				})
			}}
			if _, err := put.run(e, d, 1, 1); err != nil {
				t.Error(err)
			}
		})
	}
}
