package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// orderedRivals are those that keep their keys in order.
func orderedRivals() []rival {
	return slices.DeleteFunc(slices.Clone(rivals), func(r rival) bool { return r.inMemory })
}

// pairs is what a scan of these keys passes, if the values are those of versions.
func pairs(keys []string, versions map[string]uint64, span workload.Span) string {
	from, to := span.Bounds()
	var passed []string
	for _, key := range keys {
		if key >= string(from) && (to == nil || key < string(to)) {
			passed = append(passed, pairText([]byte(key), versions[key], span.KeysOnly))
		}
	}
	if span.Reverse {
		slices.Reverse(passed)
	}
	if span.Limit > 0 {
		passed = passed[:min(span.Limit, len(passed))]
	}
	return strings.Join(passed, " ")
}

func pairText(key []byte, version uint64, keysOnly bool) string {
	if keysOnly {
		return string(key)
	}
	return fmt.Sprintf("%s=%d", key, version)
}

// A comparison means nothing unless each engine passes the same pairs in the same order,
// whether its data comes from a table or from what was written last.
func TestEnginesScanTheSamePairs(t *testing.T) {
	for _, r := range orderedRivals() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			d := newData(testKeys, testValueSize)
			s := &tested{t: t, rival: r, survives: workload.Kill, dir: t.TempDir(),
				data: d, source: d.newSource(1, 1), versions: make([]uint64, testKeys)}
			s.reopen()
			defer func() { s.must(s.store.Close()) }()
			s.putMany(0, testKeys)
			s.must(compact(s.store))
			s.put(100, 130)
			var gone [][]byte
			for i := 50; i < 150; i++ {
				gone = append(gone, appendKey(nil, i))
			}
			s.must(s.store.(workload.Deleter).DeleteMany(gone))
			s.put(140, 145)
			versions := map[string]uint64{}
			for i, version := range s.versions {
				if i < 50 || i >= 140 && i < 145 || i >= 150 {
					versions[string(appendKey(nil, i))] = version
				}
			}
			s.checkScans(versions)
			s.must(compact(s.store))
			s.checkScans(versions)
			s.reopen()
			s.checkScans(versions)
		})
	}
}

func (s *tested) checkScans(versions map[string]uint64) {
	s.t.Helper()
	keys := make([]string, 0, len(versions))
	for key := range versions {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	low, high := []byte(keys[200]), []byte(keys[300])
	between := append(bytes.Clone(low), 'x') // no key
	for _, span := range []workload.Span{
		{}, {Prefix: []byte("a")}, {Prefix: []byte("a"), From: []byte("a8")}, {Prefix: []byte("f")}, {Prefix: []byte("none")},
		{From: low}, {To: low}, {From: low, To: high}, {From: between}, {To: between}, {From: high, To: low}, {From: low, To: low}, {From: []byte("x")},
	} {
		for _, limit := range []int{0, 1, 10} {
			for i := range 4 {
				span.Limit, span.Reverse, span.KeysOnly = limit, i%2 == 1, i >= 2
				s.checkScan(span, pairs(keys, versions, span))
			}
		}
	}
	cursor, err := s.store.(workload.Ordered).Cursor()
	s.must(err)
	for _, at := range []string{"", keys[0], string(low), string(between), keys[len(keys)-1], "x"} {
		var passed []string
		s.must(cursor.Seek([]byte(at), 5, func(key, value []byte) error {
			passed = append(passed, pairText(key, versionOf(value), false))
			return nil
		}))
		if want := pairs(keys, versions, workload.Span{From: []byte(at), Limit: 5}); strings.Join(passed, " ") != want {
			s.t.Errorf("a cursor from %q on: %s, want %s", at, passed, want)
		}
	}
	s.must(cursor.Close())
}

func (s *tested) checkScan(span workload.Span, want string) {
	s.t.Helper()
	var passed []string
	s.must(s.store.(workload.Ordered).Scan(span, func(key, value []byte) error {
		if span.KeysOnly {
			if len(value) > 0 {
				s.t.Errorf("a value of %d bytes beside keys only", len(value))
			}
			passed = append(passed, string(key))
			return nil
		}
		passed = append(passed, pairText(key, versionOf(value), false))
		return nil
	}))
	if got := strings.Join(passed, " "); got != want {
		s.t.Errorf("prefix %q, from %q to %q, limit %d, reverse %v, keys only %v: %d bytes, want %d",
			span.Prefix, span.From, span.To, span.Limit, span.Reverse, span.KeysOnly, len(got), len(want))
	}
}

// An engine that stops a scan fails the comparison, whatever fn returned.
func TestEnginesReturnTheErrorThatEndsAScan(t *testing.T) {
	for _, r := range orderedRivals() {
		d := newData(10, testValueSize)
		s := &tested{t: t, rival: r, survives: workload.Kill, dir: t.TempDir(), data: d, source: d.newSource(1, 1), versions: make([]uint64, 10)}
		s.reopen()
		s.putMany(0, 10)
		boom := fmt.Errorf("boom")
		calls := 0
		for _, span := range []workload.Span{{}, {Reverse: true}, {KeysOnly: true, Limit: 3}} {
			calls = 0
			err := s.store.(workload.Ordered).Scan(span, func(_, _ []byte) error { calls++; return boom })
			if err == nil || !strings.Contains(err.Error(), "boom") || calls != 1 {
				t.Errorf("%s, %+v: %v after %d calls", r.name, span, err, calls)
			}
		}
		s.must(s.store.Close())
	}
}

func TestWrongScansAreSeen(t *testing.T) {
	d := newData(100, testValueSize)
	source := d.newSource(1, 1)
	sorted := source.pairs(100, func() func() int { i := -1; return func() int { i++; return i } }())
	slices.SortFunc(sorted, func(a, b workload.Pair) int { return bytes.Compare(a.Key, b.Key) })
	for name, spoil := range map[string]func(pairs []workload.Pair) []workload.Pair{
		"":                      func(pairs []workload.Pair) []workload.Pair { return pairs },
		"a key twice":           func(pairs []workload.Pair) []workload.Pair { return slices.Insert(pairs, 7, pairs[7]) },
		"a missing key":         func(pairs []workload.Pair) []workload.Pair { return slices.Delete(pairs, 7, 8) },
		"a value without bytes": func(pairs []workload.Pair) []workload.Pair { pairs[7].Value = nil; return pairs },
		"keys in another order": func(pairs []workload.Pair) []workload.Pair {
			pairs[7], pairs[8] = pairs[8], pairs[7]
			return pairs
		},
		"values of other keys": func(pairs []workload.Pair) []workload.Pair {
			for i := range pairs {
				pairs[i].Value = pairs[0].Value
			}
			return pairs
		},
	} {
		spoilt, s := spoil(slices.Clone(sorted)), d.newSeen(workload.Span{})
		turn := turn{data: d}
		err := turn.complete(s, func() error {
			for _, p := range spoilt {
				if err := s.visit(p.Key, p.Value); err != nil {
					return err
				}
			}
			return nil
		})
		if (err == nil) != (name == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGroupsOfKeysAreApart(t *testing.T) {
	seen := map[string]bool{}
	for i := range 1000 * inGroup {
		key := appendGroupKey(nil, i)
		prefix := string(groupPrefix(nil, i/inGroup))
		if i%inGroup == 0 && seen[prefix] {
			t.Fatalf("two groups have the prefix %s", prefix)
		}
		seen[prefix] = true
		if len(key) != keySize || !strings.HasPrefix(string(key), prefix) {
			t.Fatalf("key %d is %s", i, key)
		}
		if i > 0 && i%inGroup > 0 && string(appendGroupKey(nil, i-1)) >= string(key) {
			t.Fatalf("key %d is not above the one before", i)
		}
	}
}
