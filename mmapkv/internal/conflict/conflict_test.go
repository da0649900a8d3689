package conflict

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// small are limits that a short test reaches.
var small = limits{bytes: 4 << 10, chunkEntries: 4, chunkBytes: 32}

// endless are limits that no test reaches, with chunks so small that they are merged and dropped.
var endless = limits{bytes: 1 << 30, chunkEntries: 4, chunkBytes: 32}

// naive is a List that forgets nothing.
type naive []write

type write struct {
	seq, hash uint64
	key       string
}

// written reports whether any of the reads was written after a number.
func (n naive) written(after uint64, hashes map[uint64]bool, ranges []span) bool {
	for _, w := range n {
		if w.seq <= after {
			continue
		}
		if hashes[w.hash] {
			return true
		}
		for _, s := range ranges {
			if w.key >= string(s.from) && (s.to == nil || w.key < string(s.to)) {
				return true
			}
		}
	}
	return false
}

// hashOf gives keys hashes, of which some are shared.
func hashOf(key string) uint64 {
	sum := uint64(len(key)) + 1
	for _, c := range []byte(key) {
		sum = sum*7 + uint64(c)%5
	}
	return sum % 97
}

// begin opens a transaction.
func begin(l *List, seq uint64) *Mark {
	m := new(Mark)
	l.Begin(m, seq)
	return m
}

// decide takes a Check to its end.
func decide(t *testing.T, k Check) Verdict {
	t.Helper()
	if k.Ahead() == Broken {
		return Broken
	}
	for range 1000 {
		if v := k.Now(); v != Unknown {
			return v
		}
	}
	t.Fatal("a Check without end")
	return Unknown
}

// modelRun begins, writes, ends and checks at random, and compares each Check with what it should say.
func modelRun(t *testing.T, seed uint64, l limits, exact bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 5))
	list, seq := newList(l), uint64(random.IntN(3))
	var all naive
	type open struct {
		mark *Mark
		seq  uint64
	}
	var marks []open
	keys, sizes := 10+int(seed)%200, 1+int(seed)%6
	key := func() string { return fmt.Sprintf("%0*d", 1+random.IntN(sizes), random.IntN(keys)) }
	lost := 0
	for range 600 {
		switch random.IntN(10) {
		case 0:
			m := begin(list, seq)
			marks = append(marks, open{m, seq})
		case 1:
			if len(marks) > 0 {
				i := random.IntN(len(marks))
				list.End(marks[i].mark)
				list.End(marks[i].mark) // changes nothing
				marks = append(marks[:i], marks[i+1:]...)
			}
		case 2, 3:
			if len(marks) == 0 {
				continue
			}
			m := marks[random.IntN(len(marks))]
			reads, hashes := &Reads{}, map[uint64]bool{}
			for range random.IntN(5) {
				k := key()
				hashes[hashOf(k)] = true
				reads.Key(hashOf(k))
			}
			for range random.IntN(3) {
				from, to := []byte(key()), []byte(key())
				if random.IntN(8) == 0 {
					to = nil
				}
				reads.Range(from, to)
			}
			reads.Settle()
			want := Holds
			if all.written(m.seq, hashes, reads.ranges) {
				want = Broken
			}
			if m.mark.lost {
				if exact {
					t.Fatalf("seed %d: a List without bounds has lost a transaction", seed)
				}
				lost++
				if !reads.Empty() {
					want = Broken
				}
			}
			if got := decide(t, NewCheck(list, m.mark, reads, m.seq)); got != want {
				t.Fatalf("seed %d: verdict %d, want %d", seed, got, want)
			}
		default:
			for range 1 + random.IntN(4) {
				seq++
				k := key()
				all = append(all, write{seq, hashOf(k), k})
				if list.Open() {
					list.Add(seq, hashOf(k), []byte(k))
				}
			}
		}
		checkList(t, list, seed)
	}
}

// checkList checks what must hold of a List's parts.
func checkList(t *testing.T, l *List, seed uint64) {
	t.Helper()
	if l.first == nil && (l.keyBytes != 0 || len(l.newest) != 0) || (l.open.Load() > 0) != (l.first != nil) {
		t.Fatalf("seed %d: the List keeps %d hashes with %d transactions open", seed, len(l.newest), l.open.Load())
	}
	if over := l.sizeLocked() - l.bytes; over > int64(l.chunkEntries*(entryBytes+hashBytes)+l.chunkBytes) {
		t.Fatalf("seed %d: %d bytes over the limit", seed, over)
	}
	last, keyBytes := uint64(0), int64(0)
	for at, c := range l.chunks {
		live, liveBytes := 0, 0
		for i, e := range c.entries {
			if e.seq <= last {
				t.Fatalf("seed %d: number %d follows %d", seed, e.seq, last)
			}
			last = e.seq
			if !e.dead {
				live, liveBytes = live+1, liveBytes+len(c.key(i))
			}
		}
		if live != c.live || liveBytes != c.liveBytes || live == 0 && at < len(l.chunks)-1 {
			t.Fatalf("seed %d: chunk %d counts %d live entries of %d, has %d of %d", seed, at, c.live, c.liveBytes, live, liveBytes)
		}
		keyBytes += int64(len(c.keys))
	}
	if keyBytes != l.keyBytes {
		t.Fatalf("seed %d: keys take %d bytes, counted %d", seed, keyBytes, l.keyBytes)
	}
}

func TestListAgreesWithOneThatForgetsNothing(t *testing.T) {
	for seed := range uint64(300) {
		modelRun(t, seed, endless, true)
	}
}

func TestBoundedListLosesTransactionsAndIsRightForOthers(t *testing.T) {
	for seed := range uint64(300) {
		modelRun(t, seed, small, false)
	}
}

// TestEveryOrderOfFewSteps runs every order of seven steps of two transactions and a writer of two
// keys, and compares the Checks.
func TestEveryOrderOfFewSteps(t *testing.T) {
	const steps = 7
	keys := []string{"a", "b"}
	runs, broken := 0, 0
	for number := range 6 * 6 * 6 * 6 * 6 * 6 * 6 {
		list, seq, all := newList(limits{bytes: 1 << 20, chunkEntries: 1, chunkBytes: 1}), uint64(0), naive{}
		var marks [2]*Mark
		var began [2]uint64
		n := number
		for range steps {
			step := n % 6
			n /= 6
			switch {
			case step < 2: // transaction begins
				if marks[step] == nil {
					marks[step], began[step] = begin(list, seq), seq
				}
			case step < 4: // ends, or is checked
				i := step - 2
				if marks[i] == nil {
					continue
				}
				reads := &Reads{}
				reads.Key(hashOf(keys[i]))
				reads.Settle()
				got := decide(t, NewCheck(list, marks[i], reads, began[i]))
				if want := all.written(began[i], map[uint64]bool{hashOf(keys[i]): true}, nil); want != (got == Broken) {
					t.Fatalf("order %d: %v, want broken: %t", number, got, want)
				}
				if got == Broken {
					broken++
				}
				list.End(marks[i])
				marks[i] = nil
			default:
				seq++
				k := keys[step-4]
				all = append(all, write{seq, hashOf(k), k})
				if list.Open() {
					list.Add(seq, hashOf(k), []byte(k))
				}
			}
			runs++
		}
	}
	if runs < 1000 || broken < 1000 {
		t.Errorf("%d steps, %d of them conflicts", runs, broken)
	}
}

// TestHotKeysFillNothing: a long transaction among many writes of few keys is not lost.
func TestHotKeysFillNothing(t *testing.T) {
	l := newList(small)
	m := begin(l, 0)
	for seq := uint64(1); seq <= 100_000; seq++ {
		key, hash := fmt.Sprintf("hot%d", seq%10), seq%10
		if seq%1000 == 0 && seq <= 20_000 {
			key, hash = fmt.Sprintf("cold%d", seq), seq // it keeps its chunk
		}
		l.Add(seq, hash, []byte(key))
		checkList(t, l, 0)
	}
	var reads Reads
	reads.Range([]byte("x"), nil)
	reads.Settle()
	if v := decide(t, NewCheck(l, m, &reads, 0)); v != Holds || m.lost {
		t.Errorf("verdict %d, lost: %t", v, m.lost)
	}
}

// TestForgottenTransactionHoldsNothing: one that never ends is lost once the List is full. Later writes
// then cost what they do with no transaction open.
func TestForgottenTransactionHoldsNothing(t *testing.T) {
	l := newList(small)
	m := begin(l, 0)
	for seq := uint64(1); seq <= 10_000; seq++ {
		l.Add(seq, seq, fmt.Appendf(nil, "key%d", seq))
	}
	if !m.lost || l.Open() || l.Size() != 0 {
		t.Errorf("lost: %t, open: %t, %d bytes", m.lost, l.Open(), l.Size())
	}
	reads := &Reads{}
	reads.Key(1 << 60)
	reads.Settle()
	if v := decide(t, NewCheck(l, m, reads, 0)); v != Broken {
		t.Errorf("a lost transaction: verdict %d", v)
	}
	l.End(m)
}

// TestOverlappingTransactionsFreeWhatIsOld: the List shrinks although some transaction is always open.
func TestOverlappingTransactionsFreeWhatIsOld(t *testing.T) {
	l := newList(endless)
	m := begin(l, 0)
	most := int64(0)
	for seq := uint64(1); seq <= 20_000; seq++ {
		l.Add(seq, seq, fmt.Appendf(nil, "key%d", seq))
		if seq%50 == 0 {
			next := begin(l, seq)
			l.End(m)
			m = next
		}
		most = max(most, l.Size())
	}
	if most > 100*(entryBytes+hashBytes+16)*2 {
		t.Errorf("the List grew to %d bytes", most)
	}
	l.End(m)
	if l.Size() > int64(l.chunkEntries*entryBytes) {
		t.Errorf("%d bytes are left", l.Size())
	}
}

// TestNowLooksAtFewKeys: inside the leadership nobody waits for a long look.
func TestNowLooksAtFewKeys(t *testing.T) {
	l := New()
	m := begin(l, 0)
	reads := &Reads{}
	for i := range uint64(10_000) {
		reads.Key(1<<40 + i)
	}
	reads.Settle()
	for seq := uint64(1); seq <= 10_000; seq++ {
		l.Add(seq, seq, []byte("key"))
	}
	k := NewCheck(l, m, reads, 0)
	if v := k.Now(); v != Unknown || k.since != Inside {
		t.Errorf("verdict %d after %d keys, want %d after %d", v, k.since, Unknown, Inside)
	}
	if v := k.Ahead(); v != Unknown || k.since != 10_000 {
		t.Errorf("verdict %d, looked up to %d", v, k.since)
	}
	if v := k.Now(); v != Holds {
		t.Errorf("verdict %d, want %d", v, Holds)
	}
	l.Add(10_001, 1<<40+77, nil)
	if v := k.Now(); v != Broken {
		t.Errorf("verdict %d, want %d", v, Broken)
	}
}

func TestReadsAgreeWithAMap(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 6))
		var r Reads
		hashes := map[uint64]bool{}
		var spans []span
		for range random.IntN(1000) {
			h := random.Uint64N(500)
			hashes[h] = true
			r.Key(h)
		}
		for range random.IntN(300) {
			s := span{fmt.Appendf(nil, "%03d", random.IntN(1000)), fmt.Appendf(nil, "%03d", random.IntN(1000))}
			if random.IntN(2) == 0 {
				s.to = append(bytes.Clone(s.from), 0)
			}
			if random.IntN(200) == 0 {
				s.to = nil
			}
			spans = append(spans, s)
			r.Range(bytes.Clone(s.from), bytes.Clone(s.to))
		}
		r.Settle()
		for i := range 1000 {
			key, h := fmt.Sprintf("%03d", i), uint64(i)
			want := hashes[h]
			for _, s := range spans {
				want = want || key >= string(s.from) && (s.to == nil || key < string(s.to))
			}
			if got := r.Has(h, []byte(key)); got != want {
				t.Fatalf("seed %d: %s: %t, want %t", seed, key, got, want)
			}
		}
		if got := int64(8 * len(r.hashes)); r.Bytes() < got || len(r.hashes) > len(hashes) {
			t.Fatalf("seed %d: %d bytes of %d hashes", seed, r.Bytes(), len(r.hashes))
		}
	}
}

// TestRepeatedReadsTakeNoMemory: who reads the same keys again and again stays small.
func TestRepeatedReadsTakeNoMemory(t *testing.T) {
	var r Reads
	for i := range 1_000_000 {
		r.Key(uint64(i % 50))
		r.Range([]byte{byte(i % 50)}, []byte{byte(i%50) + 1})
	}
	if r.Bytes() > 64*(8+spanBytes+2)*2 {
		t.Errorf("%d bytes", r.Bytes())
	}
}

// TestListManyAtOnce begins, writes and checks from several goroutines.
func TestListManyAtOnce(t *testing.T) {
	l := newList(limits{bytes: 64 << 10, chunkEntries: 16, chunkBytes: 256})
	var publishing sync.Mutex
	var seq uint64
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 3000 {
				publishing.Lock()
				m, began := begin(l, seq), seq
				publishing.Unlock()
				own := uint64(worker)<<32 + uint64(i)
				reads := &Reads{}
				reads.Key(own)
				reads.Range(fmt.Appendf(nil, "own%d", own), fmt.Appendf(nil, "own%d+", own))
				reads.Settle()
				check := NewCheck(l, m, reads, began)
				if v := decide(t, check); v != Holds && !m.lost {
					t.Errorf("verdict %d", v)
				}
				publishing.Lock()
				seq++
				if l.Open() {
					l.Add(seq, own, fmt.Appendf(nil, "own%d", own))
				}
				publishing.Unlock()
				if v := decide(t, check); v != Broken {
					t.Errorf("verdict %d after a write", v)
				}
				l.End(m)
			}
		})
	}
	group.Wait()
	if l.Open() {
		t.Error("a transaction is left")
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, keys := range []int{10, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			l := New()
			m := begin(l, 0)
			key := make([]byte, 16)
			for i := range b.N {
				l.Add(uint64(i+1), uint64(i%keys), fmt.Appendf(key[:0], "%016d", i%keys))
			}
			l.End(m)
		})
	}
}

func BenchmarkBeginCheckEnd(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for i := range b.N {
		m := begin(l, uint64(i))
		var reads Reads
		reads.Key(7)
		reads.Settle()
		k := NewCheck(l, m, &reads, uint64(i))
		k.Now()
		l.Add(uint64(i+1), 7, []byte("key"))
		l.End(m)
	}
}
