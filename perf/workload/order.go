package workload

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"github.com/mmapkv/mmapkv/perf/internal/rig"
)

// order measures what it takes to have keys in order, for keys such as user:00001234:
// memory before and after scans, and the disk space of the tables.
func (s *session) order() error {
	if _, ok := s.store.(Ordered); !ok || s.engine.Survives == Nothing {
		return nil
	}
	return s.aside(func(other *session) error {
		numbers := rand.New(rand.NewPCG(s.Seed, 0)).Perm(s.Keys)
		err := other.putAll(s.Keys, func(p *Pair, i int) {
			p.Key = fmt.Appendf(p.Key[:0], "user:%08d", numbers[i])
			s.Fill(p.Value, numbers[i], other.version.Add(1))
		})
		numbers = nil // the memory counts
		if err = firstOf(err, other.close()); err != nil {
			return err
		}
		figures, err := other.tables()
		if err != nil {
			return err
		}
		if err := other.reopenLoaded(); err != nil {
			return err
		}
		ordered, err := other.memoryForOrder()
		if err != nil {
			return err
		}
		s.emit(Result{Workload: "order", Engine: s.engine.Name, Figures: append(figures, ordered...)})
		return nil
	})
}

// tables is the disk space of the closed store's tables, if it has such files.
func (s *session) tables() ([]Figure, error) {
	files, err := rig.Allocated(s.dir)
	if err != nil {
		return nil, err
	}
	var bytes float64
	for name, size := range files {
		if filepath.Ext(name) == tableExtension {
			bytes += float64(size)
		}
	}
	if bytes == 0 {
		return nil, nil
	}
	return []Figure{{"tables", bytes / float64(s.Keys), "B/key"}}, nil
}

// tableExtension is that of mmapkv's files that are not records.
const tableExtension = ".hint"

// reopenLoaded opens the store and waits until it is loaded and at rest.
func (s *session) reopenLoaded() error {
	if err := s.open(s.engine.Open); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	s.awaitRest()
	return nil
}

// scansBefore is how many scans make a store prepare for more.
const scansBefore = 10

// memoryForOrder measures the memory before any scan, besides the index, and what
// scans add to it.
func (s *session) memoryForOrder() ([]Figure, error) {
	each := func(bytes float64) float64 { return bytes / float64(s.Keys) }
	before, own := rig.HeapInUse(), uint64(0)
	if indexed, ok := s.store.(Indexed); ok {
		own = uint64(indexed.IndexBytes())
	}
	for range scansBefore {
		if err := s.scanUsers(); err != nil {
			return nil, err
		}
	}
	s.awaitRest()
	figures := []Figure{
		{"heap without the index", each(float64(before) - float64(s.heap) - float64(own)), "B/key"},
		{"heap added by scans", each(float64(rig.HeapInUse()) - float64(before)), "B/key"},
	}
	if store, ok := s.store.(Ordering); ok {
		figures = append(figures, store.OrderFigures()...)
	}
	return figures, nil
}

// scanUsers checks that all keys come in order.
func (s *session) scanUsers() error {
	n := 0
	var want []byte
	err := s.store.(Ordered).Scan(Span{}, func(key, value []byte) error {
		if want = fmt.Appendf(want[:0], "user:%08d", n); string(want) != string(key) {
			return fmt.Errorf("workload: key %q where %q should be", key, want)
		}
		n++
		return s.Verify(n-1, value)
	})
	if err == nil && n != s.Keys {
		err = fmt.Errorf("workload: scanned %d keys, not %d", n, s.Keys)
	}
	return firstOf(err, s.ctx.Err())
}
