package fuzz

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	relationLists = flag.Int("relations.lists", 60, "how many stores TestScansRelate makes")
	relationSeed  = flag.Uint64("relations.seed", 0, "the seed of the first store of TestScansRelate, increased by one for each further store; 0 draws one")
)

// TestScansRelate makes stores by random operations and background work, and compares scans with
// each other, and with Range and Get: two halves with the whole, reverse with forward, a prefix with
// bounds, keys with pairs, an Iterator and its seeks with a Scan. Nothing of that changes when the
// store is compacted, closed, killed, or copied pair by pair.
func TestScansRelate(t *testing.T) {
	seed := *relationSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run '^%s$' -relations.seed=%d -relations.lists=%d", seed, t.Name(), seed, *relationLists)
	var counts metaCounts
	pairs := 0
	for list := range max(*relationLists/sampleOneIn, 1) {
		seed := seed + uint64(list)
		m := newMeta(t, rand.New(rand.NewPCG(seed, 1)), &counts)
		m.name = fmt.Sprintf("-relations.seed=%d -relations.lists=1", seed)
		pairs += m.relate(metaList(rand.New(rand.NewPCG(seed, 0))))
	}
	t.Logf("%d pairs, %+v", pairs, counts)
	if pairs == 0 || counts.Compactions == 0 {
		t.Error("there was nothing to scan, or no compaction")
	}
}

// relate runs a list, with comparisons on the way, and compares what scans show before and after
// what must not change it. It returns how many pairs there were at the end.
func (m *meta) relate(list []metaOp) int {
	m.open()
	for m.at = range list {
		m.background()
		m.do(list[m.at])
		if m.rng.IntN(8) == 0 {
			m.relations()
		}
	}
	before := m.relations()
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"Compact", func() { m.must("Compact", m.store.Compact(context.Background())) }},
		{"Close and Open", func() { m.must("Close", m.store.Close()); m.open() }},
		{"a kill", func() { m.disk = m.disk.Kill(); m.open() }},
		{"a copy", m.copyPairs},
	} {
		change.do()
		if after := m.relations(); !slices.Equal(before, after) {
			m.fail("before %s a scan shows %.300v; then %.300v", change.name, before, after)
		}
	}
	m.must("Close", m.store.Close())
	return len(before)
}

// copyPairs goes on with a new store, into which a scan has put all pairs, as export and import do.
func (m *meta) copyPairs() {
	from := m.store
	m.disk, m.content = newMeta(m.t, m.rng, m.counts).disk, nil
	m.open()
	m.must("a copy", from.Scan(mmapkv.ScanOptions{}, m.store.Put))
	m.must("Close", from.Close())
}

// mustScan returns what Scan shows.
func (m *meta) mustScan(o mmapkv.ScanOptions) []orderedPair {
	m.t.Helper()
	pairs, err := scanned(m.store, o)
	m.must(fmt.Sprintf("Scan of %+v", o), err)
	return pairs
}

// bound draws a bound: a key, a part of one, or a byte more.
func (m *meta) bound() []byte {
	key := metaKeys[m.rng.IntN(len(metaKeys))]
	switch m.rng.IntN(3) {
	case 0:
		return []byte(key[:m.rng.IntN(len(key)+1)])
	case 1:
		return append([]byte(key), 0)
	}
	return []byte(key)
}

// relations compares scans of the store with each other. It returns all pairs.
func (m *meta) relations() []orderedPair {
	m.t.Helper()
	all := m.mustScan(mmapkv.ScanOptions{})
	m.sameAsRange(all)
	bounds := [][]byte{m.bound(), m.bound(), m.bound()}
	slices.SortFunc(bounds, slices.Compare)
	a, b, c := bounds[0], bounds[1], bounds[2]
	whole := m.mustScan(mmapkv.ScanOptions{From: a, To: c})
	halves := slices.Concat(m.mustScan(mmapkv.ScanOptions{From: a, To: b}), m.mustScan(mmapkv.ScanOptions{From: b, To: c}))
	if !slices.Equal(whole, halves) {
		m.fail("from %.20q over %.20q to %.20q there are %.300v; the whole is %.300v", a, b, c, halves, whole)
	}
	outside := slices.Concat(m.mustScan(mmapkv.ScanOptions{To: a}), whole, m.mustScan(mmapkv.ScanOptions{From: c}))
	if !slices.Equal(all, outside) {
		m.fail("below, within and above there are %.300v; in all %.300v", outside, all)
	}
	m.prefixIsBounds(b)
	for _, o := range []mmapkv.ScanOptions{{}, {Prefix: a}, {From: a}, {To: c}, {From: a, To: c}, {Prefix: a, From: b, To: c}} {
		m.waysAgree(o)
	}
	m.seeksAgree(all)
	return all
}

// sameAsRange compares all pairs with Range, which has no order, and with Get and Size.
func (m *meta) sameAsRange(all []orderedPair) {
	m.t.Helper()
	ranged, listed := map[string]string{}, map[string]string{}
	m.must("Range", m.store.Range(func(key, value []byte) error {
		ranged[string(key)] = string(value)
		return nil
	}))
	for _, p := range all {
		listed[p.key] = p.value
		got, err := m.store.Get([]byte(p.key))
		size, sizeErr := m.store.Size([]byte(p.key))
		if err != nil || sizeErr != nil || string(got) != p.value || size != int64(len(got)) {
			m.fail("Scan shows %v; Get %.20q, %v; Size %d, %v", p, got, err, size, sizeErr)
		}
	}
	if len(listed) != len(all) || !maps.Equal(ranged, listed) {
		m.fail("Scan shows %.300v; Range %.300v", all, ranged)
	}
}

// prefixIsBounds compares a prefix with the bounds that it amounts to.
func (m *meta) prefixIsBounds(prefix []byte) {
	m.t.Helper()
	o := mmapkv.ScanOptions{From: prefix}
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			o.To = slices.Clone(prefix[:n])
			o.To[n-1]++
			break
		}
	}
	if with, within := m.mustScan(mmapkv.ScanOptions{Prefix: prefix}), m.mustScan(o); !slices.Equal(with, within) {
		m.fail("with the prefix %.20q there are %.300v; from %.20q to %.20q there are %.300v", prefix, with, o.From, o.To, within)
	}
}

// waysAgree compares, for the same keys: both directions, keys only, an Iterator, and a scan that ends
// early.
func (m *meta) waysAgree(o mmapkv.ScanOptions) {
	m.t.Helper()
	pairs := m.mustScan(o)
	if !slices.IsSortedFunc(pairs, func(a, b orderedPair) int { return slices.Compare([]byte(a.key), []byte(b.key)) }) {
		m.fail("Scan shows %.300v", pairs)
	}
	for _, reverse := range []bool{false, true} {
		want := slices.Clone(pairs)
		if o.Reverse = reverse; reverse {
			slices.Reverse(want)
		}
		got, err := iterated(m.store, o)
		m.must("Iterator", err)
		if scan := m.mustScan(o); !slices.Equal(scan, want) || !slices.Equal(got, want) {
			m.fail("reverse %v: Scan shows %.300v, an Iterator %.300v; want %.300v", reverse, scan, got, want)
		}
		limit, early := m.rng.IntN(len(want)+1), []orderedPair(nil)
		m.must("Scan", m.store.Scan(o, func(key, value []byte) error {
			if len(early) == limit {
				return fs.SkipAll
			}
			early = append(early, orderedPair{string(key), string(value)})
			return nil
		}))
		if !slices.Equal(early, want[:limit]) {
			m.fail("reverse %v: the first %d are %.300v; want %.300v", reverse, limit, early, want)
		}
		for i := range want {
			want[i].value = ""
		}
		keys := o
		keys.KeysOnly = true
		if scan := m.mustScan(keys); !slices.Equal(scan, want) {
			m.fail("reverse %v: there are the keys %.300v; want those of %.300v", reverse, scan, want)
		}
	}
}

// seeksAgree compares seeks, and moves to and fro after them, with all pairs.
func (m *meta) seeksAgree(all []orderedPair) {
	m.t.Helper()
	it, err := m.store.Iterator(mmapkv.ScanOptions{})
	m.must("Iterator", err)
	defer it.Close()
	at := func(ok bool, n int, what string, key []byte) {
		m.t.Helper()
		if there := n >= 0 && n < len(all); ok != there || there && string(it.Key()) != all[n].key || it.Err() != nil {
			m.fail("%s(%.20q) is %v at %.20q, %v; want pair %d of %d", what, key, ok, it.Key(), it.Err(), n, len(all))
		}
	}
	for range 6 {
		key := m.bound()
		n := sort.Search(len(all), func(i int) bool { return all[i].key >= string(key) })
		at(it.SeekGE(key), n, "SeekGE", key)
		if it.Valid() {
			at(it.Prev(), n-1, "Prev after SeekGE", key)
		}
		at(it.SeekLT(key), n-1, "SeekLT", key)
		if it.Valid() {
			at(it.Next(), n, "Next after SeekLT", key)
		}
	}
}
