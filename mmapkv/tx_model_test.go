package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// txModel is an orderModel with transactions. It notes which keys are written, and what each
// transaction has read, so it knows how each commit must end.
type txModel struct {
	*orderModel
	journal []string // the keys that were written, in order
	txs     []*modelTx

	committed, conflicted, expired int
}

// modelTx is a Tx beside what it must see.
type modelTx struct {
	*Tx
	now       int64
	pairs     map[string]pair  // when it began
	own       map[string]*pair // nil: deleted; expiry is a TTL
	began     int              // in the journal
	keys      map[string]bool  // that were read
	ranges    []*interval      // that were read
	earliest  int64            // when something that it was shown expires
	mayExpire int64            // when anything expires
	its       []*txIterator
}

// interval is the keys with from <= key < to.
type interval struct {
	from, to string
	endless  bool // there is no to
}

func (i interval) has(key string) bool { return key >= i.from && (i.endless || key < i.to) }

// txIterator is an Iterator of a transaction beside its model.
type txIterator struct {
	modelIterator
	limits interval // within which it moves
	passed *interval
}

func (m *txModel) begin() {
	m.t.Helper()
	tx, err := m.Begin()
	if err != nil {
		m.t.Fatal(err)
	}
	x := &modelTx{Tx: tx, now: m.now, pairs: map[string]pair{}, own: map[string]*pair{}, began: len(m.journal), keys: map[string]bool{}, earliest: math.MaxInt64, mayExpire: math.MaxInt64}
	for key, p := range m.pairs {
		if p.expiry == 0 || p.expiry > m.now {
			x.pairs[key] = p
			if p.expiry != 0 {
				x.mayExpire = min(x.mayExpire, p.expiry)
			}
		}
	}
	m.txs = append(m.txs, x)
}

// sees returns what a transaction sees under a key.
func (x *modelTx) sees(key string) (p pair, own, ok bool) {
	if w, own := x.own[key]; own {
		if w == nil {
			return pair{}, true, false
		}
		return *w, true, true
	}
	p, ok = x.pairs[key]
	return p, false, ok
}

// want returns what a transaction sees within options, from the lowest key up.
func (x *modelTx) want(o *ScanOptions) (want []pair) {
	all := maps.Clone(x.pairs)
	for key, w := range x.own {
		if delete(all, key); w != nil {
			all[key] = *w
		}
	}
	for key, p := range all {
		if o.named(key) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return want
}

// shown notes that a transaction was shown a pair that may expire.
func (x *modelTx) shown(key string) {
	if p, own, ok := x.sees(key); ok && !own && p.expiry != 0 {
		x.earliest = min(x.earliest, p.expiry)
	}
}

// put writes to the store and the map.
func (m *txModel) put() {
	m.t.Helper()
	key, value := m.key(), strings.Repeat(fmt.Sprint(m.rng.IntN(1000), " "), m.rng.IntN(40))
	if m.rng.IntN(200) == 0 {
		value = strings.Repeat("long ", minSegmentSize/4)
	}
	var err error
	switch m.rng.IntN(8) {
	case 0, 1:
		if _, ok := m.pairs[key]; !ok {
			return // a Delete of an absent key may or may not be a write
		}
		err = m.Store.Delete([]byte(key))
		delete(m.pairs, key)
		m.journal = append(m.journal, key)
	case 2:
		ttl := 1 + m.rng.Int64N(100)
		err = m.Store.PutWithTTL([]byte(key), []byte(value), time.Duration(ttl)*time.Millisecond)
		m.pairs[key] = pair{key, value, m.now + ttl}
		m.journal = append(m.journal, key)
	case 3:
		var b Batch
		for range m.rng.IntN(6) {
			k := m.key()
			m.journal = append(m.journal, k)
			if m.rng.IntN(3) == 0 {
				b.Delete([]byte(k))
				delete(m.pairs, k)
			} else {
				b.Put([]byte(k), []byte(value))
				m.pairs[k] = pair{k, value, 0}
			}
		}
		err = m.Store.Write(&b)
	default:
		err = m.Store.Put([]byte(key), []byte(value))
		m.pairs[key] = pair{key, value, 0}
		m.journal = append(m.journal, key)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// disturb does something that no transaction may see.
func (m *txModel) disturb() {
	m.t.Helper()
	switch n := m.rng.IntN(40); {
	case n < 8:
		m.put()
	case n < 10:
		m.now += m.rng.Int64N(10)
	case n < 11:
		if err := m.Compact(context.Background()); err != nil {
			m.t.Fatal(err)
		}
	default:
		step := m.steps[m.rng.IntN(len(m.steps))]
		if _, err := step.Run(); err != nil {
			m.t.Fatalf("%s: %v", step.Name, err)
		}
	}
}

// reader returns the Tx or what reads without tracking.
func (m *txModel) reader(x *modelTx) (r Reader, tracked bool) {
	if m.rng.IntN(5) == 0 {
		return x.Untracked(), false
	}
	return x.Tx, true
}

func (m *txModel) read(x *modelTx) {
	m.t.Helper()
	key := m.key()
	r, tracked := m.reader(x)
	p, own, ok := x.sees(key)
	if tracked && !own {
		x.keys[key] = true
		x.shown(key)
	}
	switch m.rng.IntN(5) {
	case 0:
		value, err := r.Get([]byte(key))
		if ok && (err != nil || string(value) != p.value) || !ok && err != ErrNotFound {
			m.t.Fatalf("Get(%.20q) = %.20q, %v; want %.20q, %v", key, value, err, p.value, ok)
		}
	case 1:
		if has, err := r.Has([]byte(key)); has != ok || err != nil {
			m.t.Fatalf("Has(%.20q) = %v, %v; want %v", key, has, err, ok)
		}
	case 2:
		if size, err := r.Size([]byte(key)); ok && (err != nil || size != int64(len(p.value))) || !ok && err != ErrNotFound {
			m.t.Fatalf("Size(%.20q) = %v, %v; want %v", key, size, err, ok)
		}
	case 3:
		left := time.Duration(p.expiry-x.now) * time.Millisecond
		if own {
			left = time.Duration(p.expiry) * time.Millisecond
		}
		ttl, expires, err := r.TTL([]byte(key))
		if !ok && err != ErrNotFound || ok && (err != nil || expires != (p.expiry != 0) || expires && ttl != left) {
			m.t.Fatalf("TTL(%.20q) = %v, %v, %v; want %+v, %v", key, ttl, expires, err, p, ok)
		}
	default:
		seen := 0
		err := r.GetMany([][]byte{[]byte(key), []byte(key)}, func(_ int, value []byte, err error) error {
			seen++
			if ok && (err != nil || string(value) != p.value) || !ok && err != ErrNotFound {
				return fmt.Errorf("%.20q, %w; want %.20q, %v", value, err, p.value, ok)
			}
			m.disturb()
			return nil
		})
		if err != nil || seen != 2 {
			m.t.Fatalf("GetMany(%.20q): %d, %v", key, seen, err)
		}
	}
}

// limitsOf returns what options amount to.
func limitsOf(o *ScanOptions) interval {
	b := o.bounds()
	return interval{string(b.from), string(b.to), b.to == nil}
}

var errEnough = errors.New("enough")

// scan scans a transaction, which may write meanwhile, to the end or not.
func (m *txModel) scan(x *modelTx) {
	m.t.Helper()
	o := m.options()
	want := x.want(&o)
	if o.Reverse {
		slices.Reverse(want)
	}
	r, tracked := m.reader(x)
	stopAt, shown := math.MaxInt, 0
	if m.rng.IntN(2) == 0 {
		stopAt = m.rng.IntN(6)
	}
	seen := x.pairs
	err := r.Scan(o, func(key, value []byte) error {
		if shown == len(want) || string(key) != want[shown].key || !o.KeysOnly && string(value) != want[shown].value || o.KeysOnly && value != nil {
			return fmt.Errorf("pair %d of %d is %.20q, %.20q", shown, len(want), key, value)
		}
		if p, ok := seen[string(key)]; ok && tracked && p.value == want[shown].value && p.expiry == want[shown].expiry && p.expiry != 0 {
			x.earliest = min(x.earliest, p.expiry)
		}
		shown++
		if m.rng.IntN(8) == 0 {
			m.disturb()
		}
		if m.rng.IntN(8) == 0 {
			m.change(x)
		}
		if shown > stopAt {
			return errEnough
		}
		return nil
	})
	full := stopAt >= len(want)
	if full && (err != nil || shown != len(want)) || !full && (err != errEnough || shown != stopAt+1) {
		m.t.Fatalf("Scan(%+v) shows %d of %d pairs, to stop after %d: %v", o, shown, len(want), stopAt, err)
	}
	passed := limitsOf(&o)
	if !full && o.Reverse {
		passed.from = want[stopAt].key
	} else if !full {
		passed.to, passed.endless = want[stopAt].key+"\x00", false
	}
	if tracked {
		x.ranges = append(x.ranges, &passed)
	}
}

// change makes a write of a transaction.
func (m *txModel) change(x *modelTx) {
	m.t.Helper()
	key, value := m.key(), fmt.Sprint("own ", m.rng.IntN(1000))
	var err error
	switch m.rng.IntN(8) {
	case 0, 1:
		err = x.Delete([]byte(key))
		x.own[key] = nil
	case 2:
		ttl := 1 + m.rng.Int64N(100)
		err = x.PutWithTTL([]byte(key), []byte(value), time.Duration(ttl)*time.Millisecond)
		x.own[key] = &pair{key, value, ttl}
	default:
		err = x.Put([]byte(key), []byte(value))
		x.own[key] = &pair{key, value, 0}
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// deleteRange deletes a range of a transaction.
func (m *txModel) deleteRange(x *modelTx) {
	m.t.Helper()
	o := ScanOptions{From: []byte(m.key()), To: []byte(m.key())}
	if m.rng.IntN(10) == 0 {
		o.To = nil
	}
	for _, p := range x.want(&o) {
		x.shown(p.key)
		x.own[p.key] = nil
	}
	limits := limitsOf(&o)
	x.ranges = append(x.ranges, &limits)
	if err := x.DeleteRange(o.From, o.To); err != nil {
		m.t.Fatal(err)
	}
}

func (m *txModel) iterate(x *modelTx) {
	m.t.Helper()
	o := m.options()
	it, err := x.Iterator(o)
	if err != nil {
		m.t.Fatal(err)
	}
	x.its = append(x.its, &txIterator{modelIterator{Iterator: it, o: o, want: x.want(&o), place: atStart}, limitsOf(&o), nil})
}

// move moves an Iterator of a transaction and its model, and notes what it passes.
func (m *txModel) move(x *modelTx, i *txIterator) {
	m.t.Helper()
	empty := !i.limits.endless && i.limits.from >= i.limits.to
	seek := func(passed interval) { // begins to pass keys within the limits
		passed.from = max(passed.from, i.limits.from)
		if passed.endless || !i.limits.endless && passed.to > i.limits.to {
			passed.to, passed.endless = i.limits.to, i.limits.endless
		}
		if !empty && (passed.endless || passed.from < passed.to) {
			x.ranges = append(x.ranges, &passed)
		}
		i.passed = nil
		if i.place == atPair {
			i.passed = &passed
		}
	}
	at := func() string { return i.want[i.at].key }
	key := m.key()
	above := sort.Search(len(i.want), func(n int) bool { return i.want[n].key >= key })
	var got, want bool
	up := func() {
		if want {
			seek(interval{key, at() + "\x00", false})
		} else {
			seek(interval{key, "", true})
		}
	}
	down := func(to string, endless bool) {
		if want {
			seek(interval{at(), to, endless})
		} else {
			seek(interval{"", to, endless})
		}
	}
	switch n := m.rng.IntN(12); n {
	case 0:
		got, want, key = i.First(), i.stand(0), ""
		up()
	case 1:
		got, want = i.Last(), i.stand(len(i.want)-1)
		down("", true)
	case 2:
		got, want = i.SeekGE([]byte(key)), i.stand(above)
		up()
	case 3:
		got, want = i.SeekLT([]byte(key)), i.stand(above-1)
		down(key, false)
	default:
		fresh, ended, downwards := i.place == atStart, i.place == atNoPair, (n < 7) != i.o.Reverse
		if n < 7 {
			got, want = i.Prev(), i.step(downwards)
		} else {
			got, want = i.Next(), i.step(downwards)
		}
		switch {
		case ended:
		case fresh && downwards:
			down("", true)
		case fresh:
			key = ""
			up()
		case downwards && want:
			i.passed.from = min(i.passed.from, at())
		case downwards:
			i.passed.from = i.limits.from
		case want && !i.passed.endless:
			i.passed.to = max(i.passed.to, at()+"\x00")
		case !want:
			i.passed.to, i.passed.endless = i.limits.to, i.limits.endless
		}
	}
	if got != want || i.Valid() != (i.place == atPair) || i.Err() != nil {
		m.t.Fatalf("a move to %.20q is %v, want %v; Err %v", key, got, want, i.Err())
	}
	if want {
		if p, ok := x.pairs[at()]; ok && p == i.want[i.at] && p.expiry != 0 {
			x.earliest = min(x.earliest, p.expiry)
		}
	}
	m.look(&i.modelIterator)
}

// touched reports whether something that a transaction has read was written since.
func (m *txModel) touched(x *modelTx) bool {
	for _, key := range m.journal[x.began:] {
		if x.keys[key] {
			return true
		}
		for _, r := range x.ranges {
			if r.has(key) {
				return true
			}
		}
	}
	return false
}

// end commits a transaction, or rolls it back.
func (m *txModel) end(i int) {
	m.t.Helper()
	x := m.txs[i]
	m.txs = slices.Delete(m.txs, i, i+1)
	if m.rng.IntN(4) == 0 {
		x.Rollback()
		x.Rollback()
	} else {
		m.commit(x)
	}
	for what, err := range readsOf(x.Tx, []byte("a")) {
		if err != ErrDone {
			m.t.Fatalf("%s of a transaction that has ended: %v", what, err)
		}
	}
	for _, it := range x.its {
		if it.Next() || it.First() || it.Err() != ErrDone || it.Valid() {
			m.t.Fatalf("an Iterator of a transaction that has ended: %v", it.Err())
		}
		it.Close()
	}
	if err := errors.Join(x.Put(nil, nil), x.Delete(nil), x.Commit()); !errors.Is(err, ErrDone) {
		m.t.Fatal(err)
	}
	x.Rollback()
}

func (m *txModel) commit(x *modelTx) {
	m.t.Helper()
	broken := m.touched(x) || m.now >= x.earliest
	err := x.Commit()
	switch {
	case len(x.own) == 0:
		if err != nil {
			m.t.Fatalf("Commit without writes: %v", err)
		}
		return
	case err == ErrConflict && !broken && m.now >= x.mayExpire:
		m.expired++ // it had read ahead
		return
	case broken != (err == ErrConflict) || err != nil && err != ErrConflict:
		m.t.Fatalf("Commit: %v; touched %v, expired %v", err, m.touched(x), m.now >= x.earliest)
	case err != nil:
		m.conflicted++
		return
	}
	m.committed++
	for key, w := range x.own {
		m.journal = append(m.journal, key)
		if delete(m.pairs, key); w != nil {
			p := *w
			if p.expiry != 0 {
				p.expiry += m.now
			}
			m.pairs[key] = p
		}
	}
}

// wantCommitted checks that the store has what was committed, and nothing else.
func (m *txModel) wantCommitted() {
	m.t.Helper()
	o := m.options()
	o.Reverse, o.KeysOnly = false, false
	want := m.want(&o)
	err := m.Scan(o, func(key, value []byte) error {
		if len(want) == 0 || string(key) != want[0].key || string(value) != want[0].value {
			return fmt.Errorf("pair %.20q, %.20q; want the first of %.100v", key, value, want)
		}
		want = want[1:]
		return nil
	})
	if err != nil || len(want) > 0 {
		m.t.Fatalf("Scan(%+v): %v; %.100v is missing", o, err, want)
	}
}

func (m *txModel) act() {
	m.t.Helper()
	if len(m.txs) == 0 || len(m.txs) < 4 && m.rng.IntN(10) == 0 {
		m.begin()
	}
	i := m.rng.IntN(len(m.txs))
	x := m.txs[i]
	switch n := m.rng.IntN(60); {
	case n < 15:
		m.disturb()
	case n < 23:
		m.read(x)
	case n < 26:
		m.scan(x)
	case n < 38:
		m.change(x)
	case n < 39:
		m.deleteRange(x)
	case n < 41 && len(x.its) < 3:
		m.iterate(x)
	case n < 50 && len(x.its) > 0:
		m.move(x, x.its[m.rng.IntN(len(x.its))])
	case n < 56:
		m.end(i)
	case n < 58:
		m.wantCommitted()
	case m.rng.IntN(30) == 0:
		m.reopen()
		for _, x := range m.txs {
			for what, err := range readsOf(x.Tx, []byte("a")) {
				if err != ErrClosed {
					m.t.Fatalf("%s of a transaction whose store is closed: %v", what, err)
				}
			}
			if err := x.Commit(); err != ErrClosed {
				m.t.Fatalf("Commit: %v", err)
			}
			x.Rollback()
		}
		m.txs = nil
	}
}

// TestTransactionsAreSerializable runs random transactions beside writes, expiries, sweeps, rotations,
// compactions and reopens, several at a time. Each sees what was there when it began and its own
// writes, and commits if and only if what it has read is still so.
func TestTransactionsAreSerializable(t *testing.T) {
	committed, conflicts := 0, 0
	for seed := range uint64(modelSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &txModel{orderModel: newOrderModel(t, seed)}
			for range 4000 {
				m.act()
			}
			for len(m.txs) > 0 {
				m.end(0)
			}
			if m.Store.txs.conflicts.Open() {
				t.Error("the list of conflicts is not empty")
			}
			wantNothingHeld(t, m.Store)
			closeStore(t, m.Store)
			committed, conflicts = committed+m.committed, conflicts+m.conflicted
		})
	}
	if committed < 100 || conflicts < 100 {
		t.Errorf("%d transactions committed, %d conflicted", committed, conflicts)
	}
}
