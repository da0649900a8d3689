package mmapkv

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// viewedBelow is a store with a view, whose tail has newer keys between those of the view, overwrites some
// of these and deletes others.
func viewedBelow(t *testing.T) (s *Store, dir string, model map[string]string) {
	t.Helper()
	s, dir, model = tabled(t, byHand())
	makeView(t, s)
	for i := range 120 {
		key := fmt.Sprintf("key-%04d", i*7919%1200)
		switch i % 3 {
		case 0:
			delete(model, key)
			if err := s.Delete([]byte(key)); err != nil {
				t.Fatal(err)
			}
			continue
		case 1:
			key += "+"
		}
		model[key] = fmt.Sprint("newer ", i)
		put(t, s, key, model[key])
	}
	return s, dir, model
}

// A short scan takes several keys of the view at a time. It leaves none out and none in that a newer
// record replaces, wherever it turns, stops or seeks.
func TestShortScanOverAViewMissesNothing(t *testing.T) {
	s, _, model := viewedBelow(t)
	m := capture(t, s, model)
	defer m.state.Release()
	random := rand.New(rand.NewPCG(16, 1))
	for range 40 {
		m.walk(t, random, func() string { return fmt.Sprintf("key-%04d", random.IntN(1250)) }, 60)
	}
	for size := 1; size < 120; size += 7 {
		for _, reverse := range []bool{false, true} {
			c := m.state.Cursor()
			at, move := 0, c.First
			if reverse {
				at, move = len(m.keys)-1, c.Last
			}
			move()
			for at >= 0 {
				m.fill(t, c, &at, reverse, size)
			}
			c.Close()
		}
	}
}

// A part of a table that rots while a short scan takes keys of the view costs nothing but time.
func TestShortScanOverAViewPassesDamage(t *testing.T) {
	for _, what := range []string{"every part", "cut off"} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprint(what, reverse), func(t *testing.T) {
				s, dir, model := viewedBelow(t)
				m := capture(t, s, model)
				defer m.state.Release()
				c := m.state.Cursor()
				at := 500
				if !c.SeekGE([]byte(m.keys[at])) {
					t.Fatal(c.Err())
				}
				m.fill(t, c, &at, reverse, 3)
				for _, path := range sealedHints(s, dir) {
					rots[what](t, path)
				}
				for at >= 0 {
					m.fill(t, c, &at, reverse, 16)
				}
			})
		}
	}
}
