package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// aside closes the session's store, and calls fn with a session of a new, empty one
// that no floor is measured with.
func (s *session) aside(fn func(other *session) error) error {
	if err := s.close(); err != nil {
		return err
	}
	err := rig.InFreshDir(filepath.Dir(s.dir), func(dir string) (err error) {
		other := &session{Config: s.Config, ctx: s.ctx, engine: s.engine, dir: dir, emit: s.emit, selected: s.selected}
		other.Before, other.After = nil, nil
		if err := other.open(s.engine.Open); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, other.close()) }()
		return fn(other)
	})
	return errors.Join(err, s.open(s.engine.Open))
}

// loadBatch is how many pairs are written together where the time of writing does not
// matter.
const loadBatch = 1000

// putAll puts a number of pairs in batches; fill makes each.
func (s *session) putAll(pairs int, fill func(p *Pair, i int)) error {
	batch := s.makePairs(min(loadBatch, pairs))
	for from := 0; from < pairs; from += len(batch) {
		batch = batch[:min(len(batch), pairs-from)]
		for i := range batch {
			fill(&batch[i], from+i)
		}
		if err := firstOf(s.store.Write(batch), s.ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// inGroup is how many keys share a prefix.
const inGroup = 100

// appendGroupKey appends the key of a number whose first word it shares with the rest
// of its group.
func (d Data) appendGroupKey(dst []byte, number int) []byte {
	return d.appendKey(dst, scramble(uint64(number/inGroup)^d.Seed), uint64(number))
}

// prefix scans all keys with a prefix, in a store in which each prefix has 100.
func (s *session) prefix() error {
	if _, ok := s.store.(Ordered); !ok {
		return nil
	}
	return s.aside(func(other *session) error {
		groups := max(1, s.Keys/inGroup)
		order := rand.New(rand.NewPCG(s.Seed, 0)).Perm(groups * inGroup)
		err := other.putAll(len(order), func(p *Pair, i int) {
			p.Key = s.appendGroupKey(p.Key[:0], order[i])
			s.Fill(p.Value, order[i], other.version.Add(1))
		})
		if err != nil {
			return err
		}
		if err := other.scanGroups(groups, Span{}); err != nil {
			return err
		}
		return other.scanGroups(groups, Span{KeysOnly: true})
	})
}

// scanGroups scans the keys of random groups.
func (s *session) scanGroups(groups int, span Span) error {
	store, name := s.store.(Ordered), "prefix/pairs"
	if span.KeysOnly {
		name = "prefix/keys"
	}
	for _, goroutines := range s.Goroutines {
		err := s.report(task{name: name, goroutines: goroutines, warm: true, prepare: func(g int) func() (int, error) {
			f, choose := s.newFollower(store, span), uniform(groups, s.Seed, g)
			span := span
			return one(func() error {
				group := choose()
				f.begin()
				f.key = s.appendGroupKey(f.key[:0], group*inGroup)
				span.Prefix = f.key[:wordSize]
				if err := store.Scan(span, f.visit); err != nil {
					return err
				}
				if f.pairs != inGroup || f.first/inGroup != group || f.last/inGroup != group {
					return fmt.Errorf("workload: group %d has %d keys, from %d to %d", group, f.pairs, f.first, f.last)
				}
				return nil
			})
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// appendSwathKey appends a key that is below all other keys.
func (d Data) appendSwathKey(dst []byte, number int) []byte {
	dst = d.appendKey(dst, 0, 0)
	binary.BigEndian.PutUint64(dst[len(dst)-wordSize:], uint64(number))
	return dst
}

// swath looks for the lowest key, below which many keys were deleted: just after that,
// once more, and when the background has finished.
func (s *session) swath() error {
	_, ordered := s.store.(Ordered)
	if _, deletes := s.store.(Deleter); !ordered || !deletes {
		return nil
	}
	return s.aside(func(other *session) error {
		if err := other.leaveSwath(); err != nil {
			return err
		}
		for _, phase := range []string{"first", "again", "later"} {
			if phase == "later" {
				other.awaitRest()
			}
			if err := other.lowest("swath/" + phase); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveSwath puts all keys, and many more below them, which it deletes.
func (s *session) leaveSwath() error {
	err := s.putAll(s.Keys, func(p *Pair, i int) {
		p.Key = s.AppendKey(p.Key[:0], i)
		s.Fill(p.Value, i, s.version.Add(1))
	})
	if err != nil {
		return err
	}
	err = s.putAll(s.Swath, func(p *Pair, i int) {
		p.Key = s.appendSwathKey(p.Key[:0], i)
		s.Fill(p.Value, i, s.version.Add(1))
	})
	keys := make([][]byte, 0, loadBatch)
	for from := 0; from < s.Swath && err == nil; from += len(keys) {
		keys = keys[:min(cap(keys), s.Swath-from)]
		for i := range keys {
			keys[i] = s.appendSwathKey(keys[i][:0], from+i)
		}
		err = firstOf(s.store.(Deleter).DeleteMany(keys), s.ctx.Err())
	}
	return err
}

// lowest times one scan that reads the lowest key.
func (s *session) lowest(name string) error {
	store := s.store.(Ordered)
	f := s.newFollower(store, Span{})
	f.begin()
	began, processor := time.Now(), rig.ProcessorTime()
	err := store.Scan(Span{Limit: 1}, f.visit)
	r := Result{Workload: name, Engine: s.engine.Name, Goroutines: 1, Operations: 1, Took: time.Since(began), Processor: rig.ProcessorTime() - processor}
	if err == nil && (f.pairs != 1 || f.place.first == 0 || f.last >= s.Keys) {
		err = fmt.Errorf("workload: %d pairs, key %d", f.pairs, f.last)
	}
	if err == nil {
		s.emit(r)
	}
	return err
}
