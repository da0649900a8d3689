package mmapkv

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/internal/inject"
)

// makeView makes a view of all sealed segments.
func makeView(t *testing.T, s *Store) {
	t.Helper()
	s.order.ViewFrom = 1
	if err := s.Scan(ScanOptions{}, func(_, _ []byte) error { return fs.SkipAll }); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a damaged table ends the first, but is made anew
		did, err := stepView(s)
		if err != nil {
			t.Fatal(err)
		}
		if did {
			return
		}
	}
	t.Fatal("no view was made")
}

// seal seals all segments but the tail.
func seal(t *testing.T, s *Store) {
	t.Helper()
	for {
		did, err := s.log.StepSeal()
		if err != nil {
			t.Fatal(err)
		}
		if !did {
			return
		}
	}
}

// A view is dropped when a compaction takes one of its segments away. States that have it keep it, and
// later ones do not see it.
func TestViewIsDroppedWithItsSegments(t *testing.T) {
	for _, eager := range []bool{false, true} {
		s, _, model := tabled(t, byHand())
		s.order.Eager = eager
		makeView(t, s)
		if did, err := stepView(s); did || err != nil {
			t.Errorf("the same view is made again: %v", err)
		}
		before := capture(t, s, model)
		before.wantWhole(t)
		compactAll(t, s)
		if stats := s.Stats().Order; stats.ViewSegments != 0 || stats.ViewBytes != 0 || stats.Views != 1 {
			t.Errorf("after the compaction: %+v", stats)
		}
		for i := range 300 {
			key := fmt.Sprintf("key-%04d", i)
			model[key] = "newer"
			put(t, s, key, "newer")
		}
		after := capture(t, s, model)
		after.wantWhole(t)
		before.wantWhole(t)
		makeView(t, s)
		again := capture(t, s, model)
		again.wantWhole(t)
		after.wantWhole(t)
		for _, m := range []*moment{before, after, again} {
			m.state.Release()
		}
		compactAll(t, s)
		if held := s.catalog.Retired.Held(); held != 0 {
			t.Errorf("%d bytes are held by nobody", held)
		}
	}
}

// A segment that is retired while a view of it is made ends the making.
func TestViewOfRetiredSegmentsIsNotUsed(t *testing.T) {
	s, _, model := tabled(t, byHand())
	s.order.ViewFrom = 1
	m := capture(t, s, model)
	m.wantWhole(t)
	m.state.Release()
	compacted := false
	did, err := s.order.StepView(func() error {
		if !compacted {
			compacted = true
			compactAll(t, s)
		}
		return nil
	})
	if did || err != nil || !compacted || s.Stats().Order.ViewSegments != 0 {
		t.Errorf("a view of segments that were compacted away: %v, %v, %+v", did, err, s.Stats().Order)
	}
	m = capture(t, s, model)
	m.wantWhole(t)
	m.state.Release()
}

// A State that has not all records of a view's segments does not use the view.
func TestStateBelowAViewDoesNotUseIt(t *testing.T) {
	s, _, model := tabled(t, byHand())
	older, number := maps.Clone(model), s.log.Published.Load()
	for i := range 1500 {
		key := fmt.Sprintf("key-%04d", i)
		model[key] = "newer"
		put(t, s, key, "newer")
	}
	seal(t, s)
	makeView(t, s)
	published := s.order.Published
	s.order.Published = func() uint64 { return number }
	m := capture(t, s, older)
	s.order.Published = published
	m.wantWhole(t)
	m.state.Release()
	m = capture(t, s, model)
	m.wantWhole(t)
	m.state.Release()
}

// A view has no keys that are deleted in its segments, takes at most four bytes for each key, and is
// never made in a store that is not scanned.
func TestViewHasOnlyWhatIsThere(t *testing.T) {
	o := &Options{SegmentSize: 1 << 20, Compaction: Compaction{Disabled: true}}
	inject.Into(o, &inject.Seams{Manual: true})
	s := open(t, t.TempDir(), o)
	s.order.ViewFrom = 1
	const keys = 40_000
	fill(t, s, 0, keys, 100)
	var b Batch
	for key := range s.Keys() {
		if b.Delete(key); b.Len() == 30_000 {
			break
		}
	}
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	fill(t, s, keys, 2*keys, 100) // so that the tombstones are sealed
	seal(t, s)
	if did, err := stepView(s); did || err != nil || s.Stats().Order != (OrderStats{}) {
		t.Errorf("unscanned: %v, %v, %+v", did, err, s.Stats().Order)
	}
	makeView(t, s)
	stats := s.Stats().Order
	if stats.ViewKeys < keys || stats.ViewKeys > keys+10_000 || stats.ViewBytes > 4*int64(stats.ViewKeys) || stats.ViewsTook <= 0 {
		t.Errorf("%+v", stats)
	}
	n := 0
	if err := s.Scan(ScanOptions{KeysOnly: true}, func(_, _ []byte) error { n++; return nil }); err != nil || n != s.Len() {
		t.Errorf("%d keys of %d, %v", n, s.Len(), err)
	}
}

// The background makes a view of a store that is scanned, and Close does not wait for the next.
func TestViewsAreMadeInTheBackground(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 64 << 10, Compaction: Compaction{Disabled: true}})
	fill(t, s, 0, 10_000, 100)
	waitFor(t, "eight sealed segments", func() bool {
		sealed := slices.DeleteFunc(s.Stats().Segments, func(one SegmentStats) bool { return !one.Sealed })
		return len(sealed) >= 8
	})
	waitFor(t, "a view", func() bool {
		n := 0
		if err := s.Scan(ScanOptions{KeysOnly: true}, func(_, _ []byte) error { n++; return nil }); err != nil || n != 10_000 {
			t.Fatal(n, err)
		}
		return s.Stats().Order.Views > 0
	})
	closeStore(t, s)
}
