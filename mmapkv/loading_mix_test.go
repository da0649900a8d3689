package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
)

// mix is a store and what it should have. Its tail gets partial hints, and its index is loaded by steps.
type mix struct {
	*Store
	t        *testing.T
	rng      *rand.Rand
	dir      string
	seed     uint64
	now      time.Time
	want     map[string]mixed
	writes   int
	readOnly bool
	open     []openIterator
}

// mixed is a value and when it expires; the zero time: never.
type mixed struct {
	value  string
	expiry time.Time
}

// openIterator is an iterator and what it should show.
type openIterator struct {
	*Iterator
	want [][2]string
	at   int
}

func (m *mix) options() *Options {
	o := &Options{SegmentSize: 16 << 10, Sync: fsync.Every(time.Hour), ReadOnly: m.readOnly}
	o.Compaction.Disabled = true
	inject.Into(o, &inject.Seams{Manual: true, Hold: true, PartStep: 512, Now: func() time.Time { return m.now }})
	return o
}

func (m *mix) fatal(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, write %d: "+format, append([]any{m.seed, m.writes}, args...)...)
}

func (m *mix) there(key string) (string, bool) {
	v, ok := m.want[key]
	return v.value, ok && (v.expiry.IsZero() || m.now.Before(v.expiry))
}

// write makes one change.
func (m *mix) write() {
	m.writes++
	key := fmt.Sprint("key", m.rng.IntN(30))
	value := fmt.Sprint(strings.Repeat("v", m.rng.IntN(120)), m.writes)
	var err error
	switch m.rng.IntN(6) {
	case 0, 1:
		err = m.Put([]byte(key), []byte(value))
		m.want[key] = mixed{value: value}
	case 2:
		ttl := time.Duration(1+m.rng.IntN(60)) * time.Minute
		err = m.PutWithTTL([]byte(key), []byte(value), ttl)
		m.want[key] = mixed{value, m.now.Add(ttl)}
	case 3:
		err = m.Delete([]byte(key))
		delete(m.want, key)
	default:
		var b Batch
		for range 1 + m.rng.IntN(5) {
			key := fmt.Sprint("key", m.rng.IntN(30))
			if m.rng.IntN(2) == 0 {
				b.Delete([]byte(key))
				delete(m.want, key)
			} else {
				b.Put([]byte(key), []byte(value))
				m.want[key] = mixed{value: value}
			}
		}
		err = m.Write(&b)
	}
	if err != nil {
		m.fatal("a write: %v", err)
	}
}

// work does something that the background or the clock does.
func (m *mix) work() {
	var err error
	switch m.rng.IntN(9) {
	case 0:
		m.write()
		m.endForTest(m.t)
	case 1, 2:
		if err = m.Sync(); err == nil {
			writePartials(m.t, m.Store)
		}
	case 3:
		_, err = m.log.StepHint()
	case 4:
		_, err = m.log.StepPrepare()
	case 5:
		_, err = m.log.StepSeal()
	case 6:
		_, err = m.sweeper.Step()
	case 7:
		m.now = m.now.Add(time.Duration(m.rng.IntN(10)) * time.Minute)
	case 8:
		if m.rng.IntN(10) == 0 {
			_ = m.log.DropPartials()
		}
	}
	if err != nil {
		m.fatal("background: %v", err)
	}
}

// check reads keys in every way.
func (m *mix) check() {
	m.t.Helper()
	for i := range 31 {
		key := fmt.Sprint("key", i)
		want, there := m.there(key)
		got, err := m.Get([]byte(key))
		if (err == nil) != there || err != nil && !errors.Is(err, ErrNotFound) || string(got) != want && there {
			m.fatal("Get(%s) = %.40q, %v; want %.40q, %v", key, got, err, want, there)
		}
		if has, err := m.Has([]byte(key)); err != nil || has != there {
			m.fatal("Has(%s) = %v, %v", key, has, err)
		}
		if size, err := m.Size([]byte(key)); there && (err != nil || size != int64(len(want))) || !there && !errors.Is(err, ErrNotFound) {
			m.fatal("Size(%s) = %v, %v", key, size, err)
		}
		ttl, expires, err := m.TTL([]byte(key))
		if there {
			e := m.want[key].expiry
			if err != nil || expires == e.IsZero() || expires && (ttl <= 0 || ttl > e.Sub(m.now)) {
				m.fatal("TTL(%s) = %v, %v, %v", key, ttl, expires, err)
			}
		}
		err = m.GetMany([][]byte{[]byte("nobody"), []byte(key)}, func(i int, value []byte, err error) error {
			if i == 1 && ((err == nil) != there || there && string(value) != want) || i == 0 && !errors.Is(err, ErrNotFound) {
				m.fatal("GetMany(%s)[%d] = %q, %v", key, i, value, err)
			}
			return nil
		})
		if err != nil {
			m.fatal("GetMany: %v", err)
		}
	}
}

// pairs is what scans should show.
func (m *mix) pairs() (list [][2]string) {
	for key := range m.want {
		if value, there := m.there(key); there {
			list = append(list, [2]string{key, value})
		}
	}
	slices.SortFunc(list, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	return list
}

func (m *mix) scan() {
	m.t.Helper()
	want := m.pairs()
	reverse := m.rng.IntN(2) == 0
	if reverse {
		slices.Reverse(want)
	}
	var got [][2]string
	err := m.Scan(ScanOptions{Reverse: reverse}, func(key, value []byte) error {
		got = append(got, [2]string{string(key), string(value)})
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		m.fatal("Scan: %v\n%.30q\n%.30q", err, got, want)
	}
}

// iterate opens an iterator, or moves the ones that are open.
func (m *mix) iterate() {
	m.t.Helper()
	if len(m.open) < 3 {
		it, err := m.Iterator(ScanOptions{})
		if err != nil {
			m.fatal("Iterator: %v", err)
		}
		m.open = append(m.open, openIterator{it, m.pairs(), 0})
	}
	for i := range m.open {
		it := &m.open[i]
		for range m.rng.IntN(4) {
			if it.at > len(it.want) {
				break
			}
			ok := it.Next()
			if ok != (it.at < len(it.want)) {
				m.fatal("Next at %d of %d: %v, %v", it.at, len(it.want), ok, it.Err())
			}
			if !ok {
				it.at++
				break
			}
			value, err := it.Value()
			if err != nil || string(it.Key()) != it.want[it.at][0] || string(value) != it.want[it.at][1] {
				m.fatal("the iterator shows %q, %q, %v; want %q", it.Key(), value, err, it.want[it.at])
			}
			it.at++
		}
	}
	m.open = slices.DeleteFunc(m.open, func(it openIterator) bool {
		done := it.at > len(it.want)
		if done {
			it.Close()
		}
		return done
	})
}

// spoil makes some partial hints and hints unusable.
func (m *mix) spoil(suffix string, most int) {
	names, err := filepath.Glob(filepath.Join(m.dir, suffix))
	if err != nil {
		m.t.Fatal(err)
	}
	for n := m.rng.IntN(most + 1); n > 0 && len(names) > 0; n-- {
		name := names[m.rng.IntN(len(names))]
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		switch m.rng.IntN(3) {
		case 0:
			remove(m.t, m.dir, filepath.Base(name))
			continue
		case 1:
			data = data[:m.rng.IntN(len(data)+1)]
		case 2:
			if len(data) > 0 {
				data[m.rng.IntN(len(data))] ^= 1 << m.rng.IntN(8)
			}
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// reopen ends the store, by a kill or by Close, and opens it again, perhaps read-only.
func (m *mix) reopen() {
	m.t.Helper()
	iterators := m.open
	m.open = nil
	kill := m.rng.IntN(3) > 0
	if kill && m.Store != nil {
		m.dir = killed(m.t, m.Store, m.dir)
	}
	if m.Store != nil {
		closeStore(m.t, m.Store)
	}
	for _, it := range iterators {
		if it.Next() || !errors.Is(it.Err(), ErrClosed) {
			m.fatal("an iterator after Close: %v", it.Err())
		}
		it.Close()
	}
	if kill {
		m.spoil("*.part*", 2)
		m.spoil("*.hint", 2)
	}
	m.readOnly = m.writes > 0 && m.rng.IntN(4) == 0
	m.Store = open(m.t, m.dir, m.options())
	if d := m.Stats().Recovery.Damages; len(d) > 0 {
		m.fatal("damages: %v", d)
	}
}

// finish ends loading and compares everything.
func (m *mix) finish() {
	m.t.Helper()
	if err := m.Ready(m.t.Context()); err != nil {
		m.fatal("Ready: %v", err)
	}
	m.check()
	m.scan()
	for did := true; did; { // what has expired counts until it is swept
		var err error
		if did, err = m.sweeper.Step(); err != nil {
			m.fatal("the sweep: %v", err)
		}
	}
	checkAccounts(m.t, m.Store)
	got, want := map[string]string{}, map[string]string{}
	if err := m.Range(func(key, value []byte) error {
		if _, twice := got[string(key)]; twice {
			m.fatal("%s comes twice", key)
		}
		got[string(key)] = string(bytes.Clone(value))
		return nil
	}); err != nil {
		m.fatal("Range: %v", err)
	}
	for _, pair := range m.pairs() {
		want[pair[0]] = pair[1]
	}
	if !maps.Equal(got, want) {
		m.fatal("Range shows %d pairs, not %d", len(got), len(want))
	}
	if m.t.Failed() {
		m.fatal("accounts")
	}
}

// Whatever happens while the index loads, between kills, with partial hints that cannot be used and
// without, reads, scans and iterators show what was written, and the accounts are right in the end.
func TestEverythingWhileTheIndexLoads(t *testing.T) {
	from, to := uint64(0), uint64(40)
	if testing.Short() {
		to = 10
	}
	for seed := from; seed < to; seed++ {
		m := &mix{t: t, rng: rand.New(rand.NewPCG(seed, 7)), seed: seed, dir: t.TempDir(), now: time.Unix(1_700_000_000, 0), want: map[string]mixed{}}
		m.reopen()
		for range 6 {
			for range m.rng.IntN(150) {
				if m.readOnly {
					break
				}
				m.write()
				if m.rng.IntN(8) == 0 {
					m.work()
				}
			}
			m.reopen()
			m.check()
			m.scan()
			for n := m.rng.IntN(30); n > 0; n-- {
				if !m.readOnly {
					for range m.rng.IntN(4) {
						m.write()
					}
					if m.rng.IntN(2) == 0 {
						m.work()
					}
				}
				m.check()
				m.iterate()
				if m.rng.IntN(4) == 0 {
					m.scan()
				}
				if _, err := m.loading.Step(); err != nil {
					m.fatal("loading: %v", err)
				}
			}
			if m.rng.IntN(3) == 0 {
				continue // the next kill or Close comes in the middle of loading
			}
			m.finish()
			if !m.readOnly && m.rng.IntN(2) == 0 {
				compactAll(t, m.Store)
				m.iterate()
				m.finish()
			}
			if !m.readOnly { // else what was spoiled stays as it is
				for did, err := m.log.StepHint(); did || err != nil; did, err = m.log.StepHint() {
					if err != nil {
						m.fatal("a hint: %v", err)
					}
				}
				if len(partialFiles(t, m.dir)) == 0 { // those of the tail may be spoiled
					wantNoDamage(t, m.dir)
				}
			}
		}
		for _, it := range m.open {
			it.Close()
		}
		closeStore(t, m.Store)
	}
}
