package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"

	"pgregory.net/rapid"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// found returns all that reads must find now.
func (m *model) found(t *rapid.T) map[string]string {
	found := map[string]string{}
	for _, key := range modelKeys {
		if e, ok := m.find(t, key); ok {
			found[key] = e.value
		}
	}
	return found
}

// scanOptions draws options. Bounds and prefixes are keys, parts of keys, or near to them.
func scanOptions(t *rapid.T) (o mmapkv.ScanOptions) {
	near := func(what string) []byte {
		key := keyGenerator.Draw(t, what)
		switch rapid.IntRange(0, 3).Draw(t, "near") {
		case 0:
			key = key[:len(key)/2]
		case 1:
			key += "\x00"
		}
		return []byte(key)
	}
	if rapid.IntRange(0, 2).Draw(t, "with a prefix") == 0 {
		o.Prefix = near("prefix")
	}
	if rapid.IntRange(0, 2).Draw(t, "with From") == 0 {
		o.From = near("from")
	}
	if rapid.IntRange(0, 2).Draw(t, "with To") == 0 {
		o.To = near("to")
	}
	o.Reverse = rapid.Bool().Draw(t, "reverse")
	o.KeysOnly = rapid.IntRange(0, 3).Draw(t, "keys only") == 0
	return o
}

func (m *model) doScan(t *rapid.T) {
	writes := rapid.IntRange(0, 2).Draw(t, "writes") == 0
	if writes {
		m.catchUp()
	}
	m.compareScan(t, writes)
}

// catchUp moves the clock to the latest time it has shown. If a key had expired by a clock that was
// set back, and is overwritten during a scan, the scan may show it or not.
func (m *model) catchUp() {
	m.clock.Store(max(m.now(), m.latest))
}

// compareScan compares a Scan with the model. It may end early, and its callback may write.
func (m *model) compareScan(t *rapid.T, writes bool) {
	o := scanOptions(t)
	want, limit := ordered(m.found(t), o), -1
	if rapid.IntRange(0, 2).Draw(t, "limited") == 0 {
		limit = rapid.IntRange(1, 10).Draw(t, "limit")
		want = want[:min(len(want), limit)]
	}
	writeAt := -1
	if writes {
		writeAt = rapid.IntRange(0, 5).Draw(t, "write at")
	}
	var got []orderedPair
	err := m.store.Scan(o, func(key, value []byte) error {
		got = append(got, orderedPair{string(key), string(value)})
		if len(got) == writeAt {
			m.doWrite(t)
			m.doDelete(t)
		}
		if last := got[len(got)-1]; last.key != string(key) || last.value != string(value) {
			return errors.New("the pair has changed in the callback")
		}
		if len(got) == limit {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Fatal(orderError{o, got, want, err})
	}
}

// checkOrder compares scans of everything with what reads find.
func (m *model) checkOrder(t *rapid.T, want map[string]string) {
	t.Helper()
	if err := wantOrder(m.store, want); err != nil {
		t.Fatal(err)
	}
}

// checkSize compares Size with the model.
func (m *model) checkSize(t *rapid.T, key string) {
	t.Helper()
	e, found := m.find(t, key)
	size, err := m.store.Size([]byte(key))
	if !found && (size != 0 || !errors.Is(err, mmapkv.ErrNotFound)) || found && (err != nil || size != int64(len(e.value))) {
		t.Fatalf("Size(%.20q) = %d, %v; present %v", key, size, err, found)
	}
}

// modelIterator is an Iterator beside what it must show: the state of when it was opened.
type modelIterator struct {
	*mmapkv.Iterator
	o     mmapkv.ScanOptions
	want  []orderedPair // from the lowest key up, whatever o.Reverse says
	at    int           // where it stands in want, if it stands there
	stand stand
}

// stand says whether an Iterator stands at a pair.
type stand int

const (
	fresh stand = iota // it has not moved
	atPair
	nowhere // its last move found no pair
)

// maxIterators is how many iterators are open at once.
const maxIterators = 3

// doIterate opens an Iterator, which stays open during other actions.
func (m *model) doIterate(t *rapid.T) {
	if len(m.iterators) == maxIterators {
		m.endIterator(t, 0)
	}
	m.catchUp()
	o := scanOptions(t)
	it, err := m.store.Iterator(o)
	m.must(t, "Iterator", err)
	upwards := o
	upwards.Reverse, upwards.KeysOnly = false, false
	m.iterators = append(m.iterators, &modelIterator{Iterator: it, o: o, want: ordered(m.found(t), upwards)})
}

// doMove moves an open Iterator several times.
func (m *model) doMove(t *rapid.T) {
	if len(m.iterators) == 0 {
		m.doIterate(t)
	}
	it := m.iterators[rapid.IntRange(0, len(m.iterators)-1).Draw(t, "iterator")]
	for range rapid.IntRange(1, 6).Draw(t, "moves") {
		it.move(t)
	}
	if rapid.IntRange(0, 4).Draw(t, "to its end") == 0 {
		it.finish(t)
	}
}

// doEndIterator closes an Iterator.
func (m *model) doEndIterator(t *rapid.T) {
	if n := len(m.iterators); n > 0 {
		m.endIterator(t, rapid.IntRange(0, n-1).Draw(t, "iterator"))
	}
}

func (m *model) endIterator(t *rapid.T, n int) {
	it := m.iterators[n]
	m.iterators = slices.Delete(m.iterators, n, n+1)
	m.must(t, "Close of an Iterator", it.Close())
	if it.First() || it.Valid() || !errors.Is(it.Err(), mmapkv.ErrDone) {
		t.Fatalf("an Iterator that was closed goes on: %v", it.Err())
	}
}

// iteratorsEnded checks that the store has ended all iterators.
func (m *model) iteratorsEnded(t *rapid.T) {
	for _, it := range m.iterators {
		if it.Next() || it.SeekGE(nil) || !errors.Is(it.Err(), mmapkv.ErrClosed) {
			t.Fatalf("an Iterator of a closed store goes on: %v", it.Err())
		}
		m.must(t, "Close of an Iterator", it.Close())
	}
	m.iterators = nil
}

// standAt is where the model comes to stand.
func (it *modelIterator) standAt(at int) bool {
	it.at, it.stand = at, atPair
	if at < 0 || at >= len(it.want) {
		it.stand = nowhere
	}
	return it.stand == atPair
}

// step is Next, or Prev, of the model.
func (it *modelIterator) step(next bool) bool {
	down := next == it.o.Reverse
	switch {
	case it.stand == nowhere:
		return false
	case it.stand == fresh && down:
		return it.standAt(len(it.want) - 1)
	case it.stand == fresh:
		return it.standAt(0)
	case down:
		return it.standAt(it.at - 1)
	}
	return it.standAt(it.at + 1)
}

// move makes a move and compares where it leads.
func (it *modelIterator) move(t *rapid.T) {
	t.Helper()
	var got, want bool
	key := keyGenerator.Draw(t, "key")
	first := sort.Search(len(it.want), func(i int) bool { return it.want[i].key >= key })
	what := rapid.SampledFrom([]string{"Next", "Next", "Next", "Prev", "Prev", "First", "Last", "SeekGE", "SeekLT"}).Draw(t, "move")
	switch what {
	case "First":
		got, want = it.First(), it.standAt(0)
	case "Last":
		got, want = it.Last(), it.standAt(len(it.want)-1)
	case "SeekGE":
		got, want = it.SeekGE([]byte(key)), it.standAt(first)
	case "SeekLT":
		got, want = it.SeekLT([]byte(key)), it.standAt(first-1)
	case "Prev":
		got, want = it.Prev(), it.step(false)
	default:
		got, want = it.Next(), it.step(true)
	}
	if got != want || it.Valid() != want || it.Err() != nil {
		t.Fatalf("%s(%.20q) is %v, want %v; Err is %v", what, key, got, want, it.Err())
	}
	it.look(t)
}

// look compares the pair at which the Iterator stands.
func (it *modelIterator) look(t *rapid.T) {
	t.Helper()
	value, err := it.Value()
	if it.stand != atPair {
		if it.Key() != nil || !errors.Is(err, mmapkv.ErrInvalid) {
			t.Fatalf("it stands nowhere, but the key is %.20q: %v", it.Key(), err)
		}
		return
	}
	p := it.want[it.at]
	shown := p.value
	if it.o.KeysOnly {
		shown = ""
	}
	if err != nil || string(it.Key()) != p.key || string(value) != shown || it.ValueSize() != int64(len(p.value)) {
		t.Fatalf("it stands at %.20q with %.40q, %v; want %v", it.Key(), value, err, p)
	}
	err = it.View(func(viewed []byte) error {
		if !bytes.Equal(viewed, value) {
			return fmt.Errorf("View shows %.40q; want %.40q", viewed, value)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("View of %.20q: %v", p.key, err)
	}
}

// finish goes on with Pairs to the end.
func (it *modelIterator) finish(t *rapid.T) {
	t.Helper()
	there := it.stand == atPair || it.stand == fresh && it.step(true)
	for key, value := range it.Pairs() {
		if !there || string(key) != it.want[it.at].key || !it.o.KeysOnly && string(value) != it.want[it.at].value {
			t.Fatalf("Pairs yields %.20q with %.40q, at %d of %s", key, value, it.at, fmt.Sprint(it.want))
		}
		there = it.step(true)
	}
	if there || it.Err() != nil {
		t.Fatalf("Pairs ends at %d of %d: %v", it.at, len(it.want), it.Err())
	}
}

// doDeleteUnderIterator deletes keys with a prefix while an Iterator goes over them. It comes to each
// of them once.
func (m *model) doDeleteUnderIterator(t *rapid.T) {
	m.catchUp()
	o := mmapkv.ScanOptions{Prefix: []byte(strings.Repeat("k", rapid.IntRange(0, 18).Draw(t, "prefix"))), Reverse: rapid.Bool().Draw(t, "reverse")}
	want := ordered(m.found(t), o)
	it, err := m.store.Iterator(o)
	m.must(t, "Iterator", err)
	defer it.Close()
	var got []orderedPair
	for it.Next() {
		value, err := it.Value()
		m.must(t, "Value", err)
		got = append(got, orderedPair{string(it.Key()), string(value)})
		m.must(t, "Delete", m.store.Delete(it.Key()))
		delete(m.entries, string(it.Key()))
	}
	if it.Err() != nil || !slices.Equal(got, want) {
		t.Fatal(orderError{o, got, want, it.Err()})
	}
}
