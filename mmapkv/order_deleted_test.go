package mmapkv

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/inject"
)

// stretchKey is the i-th of many keys that lie next to each other.
func stretchKey(i int) string { return fmt.Sprintf("a %05d", i) }

// putStretch puts the keys [from, to) of the stretch.
func putStretch(t testing.TB, s *Store, model map[string]string, from, to int) {
	t.Helper()
	var b Batch
	for i := from; i < to; i++ {
		model[stretchKey(i)] = fmt.Sprint("value ", i, " ", len(model))
		b.Put([]byte(stretchKey(i)), []byte(model[stretchKey(i)]))
		if b.Len() == 100 || i+1 == to {
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
}

// deleteStretch deletes the keys [from, to) of the stretch.
func deleteStretch(t testing.TB, s *Store, model map[string]string, from, to int) {
	t.Helper()
	var b Batch
	for i := from; i < to; i++ {
		delete(model, stretchKey(i))
		b.Delete([]byte(stretchKey(i)))
		if b.Len() == 100 || i+1 == to {
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
}

// stretched makes a store of small segments with a stretch of keys, and others below and above it.
func stretched(t testing.TB, keys int) (*Store, map[string]string) {
	t.Helper()
	return stretchedWith(t, keys, &inject.Seams{})
}

// stretchedWith is stretched with seams.
func stretchedWith(t testing.TB, keys int, seams *inject.Seams) (*Store, map[string]string) {
	t.Helper()
	o := byHand()
	o.SegmentSize = 16 << 10
	seams.Manual = true
	inject.Into(o, seams)
	s, model := open(t, t.TempDir(), o), map[string]string{}
	for _, key := range []string{"", "a", "b", "c"} {
		model[key] = "stays " + key
		put(t, s, key, model[key])
	}
	putStretch(t, s, model, 0, keys)
	return s, model
}

// lowest is the key that a scan from a key on shows first, and the lowest one above it.
func lowest(t testing.TB, s *Store, from string) string {
	t.Helper()
	lowest := ""
	err := s.Scan(ScanOptions{From: []byte(from)}, func(key, _ []byte) error {
		lowest = string(key)
		return fs.SkipAll
	})
	if err != nil {
		t.Fatal(err)
	}
	return lowest
}

// States show the keys that were deleted after their capture, and only these, before and after a view
// is made, whoever deleted them: also if a cursor leaves out dead files, and finds later that it
// may not.
func TestStatesAroundADeletedStretch(t *testing.T) {
	const keys = 3000
	for _, eager := range []bool{false, true} {
		for _, viewed := range []bool{false, true} {
			s, model := stretched(t, keys)
			s.order.Eager = eager
			var moments []*moment
			note := func() { moments = append(moments, capture(t, s, model)) }
			note()
			deleteStretch(t, s, model, 0, keys/2)
			note()
			if viewed {
				seal(t, s)
				makeView(t, s)
				note()
			}
			deleteStretch(t, s, model, keys/2, keys-10)
			note()
			if key := lowest(t, s, "a "); key != stretchKey(keys-10) {
				t.Errorf("the lowest key is %q", key)
			}
			seal(t, s)
			if viewed {
				makeView(t, s)
			}
			note()
			if s.order.Stats().Sieved == 0 {
				t.Error("no cursor left anything out")
			}
			putStretch(t, s, model, 100, 200)
			note()
			deleteStretch(t, s, model, 0, keys)
			note()
			random := rand.New(rand.NewPCG(3, 3))
			for _, m := range moments {
				m.wantWhole(t)
				m.walk(t, random, func() string { return stretchKey(random.IntN(keys + 10)) }, 100)
			}
			compactAll(t, s)
			note()
			for _, m := range moments {
				m.wantWhole(t)
				m.walk(t, random, func() string { return stretchKey(random.IntN(keys + 10)) }, 100)
				m.state.Release()
			}
		}
	}
}

// A cursor that has left out dead files notices when a record that it still needs is overwritten or
// deleted, in a file that is sealed or not.
func TestWritesWhileACursorLeavesOutDeadFiles(t *testing.T) {
	const keys = 3000
	for _, sealed := range []bool{false, true} {
		for _, eager := range []bool{false, true} {
			s, model := stretched(t, keys)
			s.order.Eager = eager
			deleteStretch(t, s, model, 0, keys-900)
			putStretch(t, s, model, 0, 3) // so that the tail is not dead
			if sealed {
				seal(t, s)
			}
			m := capture(t, s, model)
			c := m.state.Cursor()
			if !c.SeekGE([]byte(stretchKey(3))) || string(c.Entry().Key) != stretchKey(keys-900) || s.order.Stats().Sieved == 0 {
				t.Fatalf("%q, %+v", c.Entry().Key, s.order.Stats())
			}
			at := slices.Index(m.keys, string(c.Entry().Key))
			newer := maps.Clone(model)
			for ; at < len(m.keys); at++ {
				m.wantEntry(t, "while keys are written", c.Entry(), at)
				if at%50 == 0 {
					for i := range 30 {
						deleteStretch(t, s, newer, keys-900+at/50*30+i, keys-900+at/50*30+i+1)
					}
					put(t, s, "c", "newer")
				}
				if ok := c.Next(); ok != (at+1 < len(m.keys)) {
					t.Fatalf("after %q: %v, %v", m.keys[at], ok, c.Err())
				}
			}
			m.wantWhole(t)
			m.state.Release()
		}
	}
}

// A scan of many deleted keys reads few of them, and none once a view was made after their deletion.
func TestDeletedStretchCostsLittle(t *testing.T) {
	const keys = 20_000
	s, model := stretched(t, keys)
	s.order.ViewFrom = 0 // such a store has many views already: as it is made for one that meets deleted keys
	deleteStretch(t, s, model, 0, keys)
	s.order.Eager = false
	if key := lowest(t, s, "a "); key != "b" {
		t.Fatalf("the lowest key is %q", key)
	}
	if s.order.Stats().Sieved != 1 {
		t.Errorf("%+v", s.order.Stats())
	}
	seal(t, s)
	makeView(t, s)
	if stats := s.Stats().Order; stats.ViewKeys > 4 {
		t.Errorf("a view of what is deleted: %+v", stats)
	}
	if lowest(t, s, "a ") != "b" || s.order.Stats().Sieved != 1 {
		t.Errorf("with a view: %+v", s.order.Stats())
	}
}

// A State that captured its number before a key was deleted, and sees a view that was made after that,
// does not use it.
func TestViewWithoutDeletedKeysIsNotUsedBelowItsNumber(t *testing.T) {
	s, model := stretched(t, 1000)
	s.endForTest(t)
	seal(t, s)
	older, number := maps.Clone(model), s.log.Published.Load()
	deleteStretch(t, s, model, 0, 900)
	makeView(t, s)
	if stats := s.Stats().Order; stats.ViewKeys != 104 {
		t.Fatalf("%+v", stats)
	}
	published := s.order.Published
	s.order.Published = func() uint64 { return number }
	m := capture(t, s, older)
	s.order.Published = published
	m.wantWhole(t)
	m.state.Release()
}

// What a cursor over a view leaves out, the next State's cursor does not, although it uses the same
// memory.
func TestStatesShareAViewAndCursors(t *testing.T) {
	s, model := stretched(t, 100)
	s.order.Eager = true
	value := strings.Repeat("v", 200)
	for i := 100; i < 1000; i++ {
		model[stretchKey(i)] = value
		put(t, s, stretchKey(i), value)
	}
	s.endForTest(t)
	seal(t, s)
	put(t, s, "c", model["c"])
	makeView(t, s)
	before := capture(t, s, model)
	deleteStretch(t, s, model, 300, 600)
	after := capture(t, s, model)
	for range 2 {
		after.wantWhole(t)
		before.wantWhole(t)
	}
	if s.order.Stats().Sieved == 0 {
		t.Error("nothing was left out")
	}
	before.state.Release()
	after.state.Release()
}

// A view is made of few segments, and made again, if scans meet many records that it would leave out.
// It is not if a new one would be the same.
func TestViewIsMadeForDeletedKeys(t *testing.T) {
	const keys = 40_000
	s, model := stretched(t, keys)
	seal(t, s)
	makeView(t, s)
	s.order.ViewFrom = 1 << 20
	want := func(what string, scans int, made bool) {
		t.Helper()
		for range scans {
			if key := lowest(t, s, stretchKey(1)); key != "b" {
				t.Fatalf("%s: the lowest key is %q", what, key)
			}
		}
		if did, err := stepView(s); err != nil || did != made {
			t.Fatalf("%s: made a view: %v, %v", what, did, err)
		}
	}
	deleteStretch(t, s, model, 1, keys)
	want("deleted", 1, true)
	want("at rest", 100, false)
	put(t, s, "b", "newer")
	model["b"] = "newer"
	want("written", 1, false)
	put(t, s, stretchKey(keys), "then deleted")
	model[stretchKey(keys)] = ""
	deleteStretch(t, s, model, keys, keys+1)
	want("with a tail that is not dead", 1, false)
	m := capture(t, s, model)
	m.wantWhole(t)
	m.state.Release()
}

// A State that was captured while the index was loading shows what was deleted before loading ended.
// Loading takes the marks of such records away, and nobody notes when they were deleted.
func TestStateOfALoadingStoreBelievesNoMarks(t *testing.T) {
	const keys = 3000
	for _, eager := range []bool{false, true} {
		s, model := stretched(t, keys)
		deleteStretch(t, s, model, 0, keys/2)
		closeStore(t, s)
		s = openHeld(t, s.path, nil)
		s.order.Eager = eager
		before := capture(t, s, model)
		for step := 0; s.Stats().Loading; step++ {
			if step == 2 {
				deleteStretch(t, s, model, keys/2, keys-100)
			}
			if _, err := s.loading.Step(); err != nil {
				t.Fatal(err)
			}
		}
		after := capture(t, s, model)
		for _, m := range []*moment{before, after} {
			m.wantWhole(t)
			m.state.Release()
		}
	}
}

// A State shows keys that expired and were swept since it was captured, also above deleted ones, and also
// one that has a view which was made after that. A scan that begins later does not show them.
func TestSweptStretch(t *testing.T) {
	const keys, deleted = 9000, 8000
	now := time.UnixMilli(1_000_000)
	for _, eager := range []bool{false, true} {
		s, model := stretchedWith(t, keys, &inject.Seams{Now: func() time.Time { return now }})
		s.order.Eager = eager
		deleteStretch(t, s, model, 0, deleted)
		after := maps.Clone(model)
		for i := deleted; i < keys-10; i++ {
			model[stretchKey(i)] = "expires"
			delete(after, stretchKey(i))
			if err := s.PutWithTTL([]byte(stretchKey(i)), []byte("expires"), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		s.endForTest(t)
		seal(t, s)
		before := capture(t, s, model)
		now = now.Add(2 * time.Second)
		if did, err := s.sweeper.Step(); err != nil || !did {
			t.Fatal(did, err)
		}
		for _, viewed := range []bool{false, true} {
			if viewed {
				makeView(t, s)
				earlier := capture(t, s, model) // as if its clock had been read before
				earlier.wantWhole(t)
				earlier.state.Release()
			}
			before.wantWhole(t)
			if got := scanned(t, s, ScanOptions{}); !slices.Equal(got, slices.Sorted(maps.Keys(after))) {
				t.Errorf("%d keys are shown, not %d", len(got), len(after))
			}
		}
		before.state.Release()
	}
}

// While a compaction moves records, they keep their marks in the old files, also when they are deleted.
func TestDeletedWhileTheyAreMoved(t *testing.T) {
	const keys = 1500
	var s *Store
	model := map[string]string{}
	var moments []*moment
	moved := false
	s, model = stretchedWith(t, keys, &inject.Seams{Between: func(phase string) {
		if phase == "shown" || phase == "moved" {
			deleteStretch(t, s, model, keys-200+len(moments), keys-100+len(moments))
			m := capture(t, s, model)
			m.wantWhole(t)
			moments = append(moments, m)
			moved = true
		}
	}})
	s.order.Eager = true
	for i := 0; i < keys-300; i += 3 {
		deleteStretch(t, s, model, i, i+2)
	}
	s.endForTest(t)
	seal(t, s)
	before := capture(t, s, model)
	compactAll(t, s)
	if !moved {
		t.Fatal("nothing was moved")
	}
	for _, m := range append(moments, before) {
		m.wantWhole(t)
		m.state.Release()
	}
}
