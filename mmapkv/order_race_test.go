package mmapkv

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// Each writer has keys of its own, and writes all of them in one batch, again and again. The
// number of the batch determines which keys it puts and which it deletes. So a State must show, of
// each writer, exactly what one batch left, and that batch must be one that the State may have.

type orderedWriter struct {
	number      int
	begun, done atomic.Int64 // the latest batch begun, and the latest acknowledged
}

const orderedKeys = 60 // of each writer

func (w *orderedWriter) key(i int) string { return fmt.Sprintf("key-%03d-of-%d", i, w.number) }

// value is what the batch puts for the i-th key, "" if it deletes it.
func (w *orderedWriter) value(batch int64, i int) string {
	seed := orderedSeed
	draw := maphash.Comparable(seed, [3]int64{int64(w.number), batch, int64(i)})
	if batch == 0 || i > 0 && draw%3 == 0 {
		return ""
	}
	return fmt.Sprintf("%d of writer %d: %s", batch, w.number, strings.Repeat("x", int(draw>>8%64)))
}

var orderedSeed = maphash.MakeSeed()

func (w *orderedWriter) write(s *Store) error {
	batch := w.begun.Add(1)
	var b Batch
	for i := range orderedKeys {
		if value := w.value(batch, i); value == "" {
			b.Delete([]byte(w.key(i)))
		} else {
			b.Put([]byte(w.key(i)), []byte(value))
		}
	}
	if err := s.Write(&b); err != nil {
		return err
	}
	w.done.Store(batch)
	return nil
}

// orderedMoment is a State of a store with such writers.
type orderedMoment struct {
	state      *order.State
	writers    []*orderedWriter
	from, upTo []int64 // which batches of each writer it may show
}

func captureBeside(s *Store, writers []*orderedWriter) (*orderedMoment, error) {
	m := &orderedMoment{writers: writers}
	for _, w := range writers {
		m.from = append(m.from, w.done.Load())
	}
	var err error
	m.state, err = s.order.Capture()
	for _, w := range writers {
		m.upTo = append(m.upTo, w.begun.Load())
	}
	return m, err
}

// pairs reads all pairs of the State, and expects the keys in order.
func (m *orderedMoment) pairs(reverse bool) (map[string]string, error) {
	c := m.state.Cursor()
	ok := false
	if reverse {
		ok = c.Last()
	} else {
		ok = c.First()
	}
	pairs, last := map[string]string{}, ""
	var into [50]order.Entry
	entries := []order.Entry{c.Entry()}
	for n := 1; ok && n > 0; {
		for _, e := range entries[:n] {
			if key := string(e.Key); last != "" && (key <= last) != reverse || key == last {
				return nil, fmt.Errorf("%q follows %q", key, last)
			}
			last = string(e.Key)
			f := found{file: e.File}
			if err := f.loadAt(e.Offset, e.Size); err != nil {
				return nil, err
			}
			if !bytes.Equal(f.record.Key, e.Key) || f.record.Seq != e.Seq || e.Seq > m.state.Seq() {
				return nil, fmt.Errorf("%q, number %d: the record is %q, number %d", e.Key, e.Seq, f.record.Key, f.record.Seq)
			}
			pairs[last] = string(f.record.Value)
			f.release()
		}
		n = c.Fill(into[:], reverse)
		entries = into[:]
	}
	return pairs, c.Err()
}

// check reads the State, and expects that it shows what one batch of each writer left.
func (m *orderedMoment) check(reverse bool) error {
	pairs, err := m.pairs(reverse)
	if err != nil {
		return err
	}
	for i, w := range m.writers {
		batch := int64(0)
		if value := pairs[w.key(0)]; value != "" {
			fmt.Sscan(value, &batch)
		}
		if batch < m.from[i] || batch > m.upTo[i] {
			return fmt.Errorf("writer %d: batch %d is shown, and not one from %d to %d", w.number, batch, m.from[i], m.upTo[i])
		}
		for at := range orderedKeys {
			key := w.key(at)
			if got, want := pairs[key], w.value(batch, at); got != want {
				return fmt.Errorf("%s has %q; batch %d left %q", key, got, batch, want)
			}
			delete(pairs, key)
		}
	}
	if len(pairs) > 0 {
		return fmt.Errorf("%d keys that nobody wrote: %v", len(pairs), pairs)
	}
	return nil
}

// A State shows whole batches, none of them later and none of them missing, beside writers,
// rotation, sealing, compaction and Close.
func TestStatesBesideWriters(t *testing.T) {
	for round := range 3 {
		s := open(t, t.TempDir(), &Options{SegmentSize: minSegmentSize << (2 * round)})
		s.order.ViewFrom, s.order.Eager = 1, round == 1
		writers := []*orderedWriter{{number: 0}, {number: 1}, {number: 2}}
		var writing, reading sync.WaitGroup
		var stop atomic.Bool
		for _, w := range writers {
			writing.Go(func() {
				for range 50 {
					if err := w.write(s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writing.Go(func() {
			for range 5 {
				if err := s.Compact(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
		for reader := range 2 {
			reading.Go(func() { readStates(t, s, writers, &stop, reader == 1) })
		}
		writing.Wait()
		stop.Store(true)
		reading.Wait()
		if s.order.Stats().ViewsMade == 0 && round < 2 {
			t.Error("no view was made")
		}
		m, err := captureBeside(s, writers)
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		if err := m.check(round%2 == 0); err != nil {
			t.Errorf("after Close: %v", err)
		}
		m.state.Release()
	}
}

// readStates captures States and checks them, at once and again later.
func readStates(t *testing.T, s *Store, writers []*orderedWriter, stop *atomic.Bool, reverse bool) {
	var older *orderedMoment
	for n := 0; !stop.Load(); n++ {
		m, err := captureBeside(s, writers)
		if err == nil {
			err = m.check(reverse)
		}
		if err == nil && n%3 == 0 {
			_, err = stepView(s)
		}
		if err == nil && older != nil && n%10 == 9 {
			err = older.check(!reverse)
			older.state.Release()
			older = nil
		}
		if err != nil {
			t.Error(err)
			break
		}
		if older == nil {
			older = m
		} else {
			m.state.Release()
		}
	}
	if older != nil {
		older.state.Release()
	}
}
