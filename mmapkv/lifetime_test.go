package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// What a reader holds does not change while compaction removes the files under it. Once
// no reader holds the files, they are gone.

const (
	staying  = 30 // keys that are written once
	changing = 30 // keys that churn overwrites and never deletes

	// All small values that stay fit into half a segment, so every compaction moves
	// them. Large ones take several files.
	smallSize, largeSize = 20, 300
)

// churn overwrites every changing key, and adds and deletes others, so that every file
// has garbage.
func churn(t testing.TB, s *Store, round int) {
	t.Helper()
	for i := range changing {
		put(t, s, fmt.Sprint("changing-", i), fmt.Sprintf("%08d of %d", round, i))
	}
	put(t, s, fmt.Sprint("passing-", round), "by")
	if err := s.Delete(fmt.Append(nil, "passing-", round-3)); err != nil {
		t.Fatal(err)
	}
}

// fillWithChurn alternates staying and changing keys, so that they share files.
func fillWithChurn(t testing.TB, s *Store, size int) {
	t.Helper()
	for i := range staying {
		fill(t, s, i, i+1, size)
		put(t, s, fmt.Sprint("changing-", i%changing), fmt.Sprintf("%08d of %d", 0, i))
	}
	churn(t, s, 1)
}

// iteration collects what one Range or Keys yields.
type iteration struct {
	size   int               // of the values that stay
	values map[string]string // the latest value shown; "" from Keys
	times  map[string]int
	errs   []error
}

func newIteration(size int) *iteration {
	return &iteration{size: size, values: map[string]string{}, times: map[string]int{}}
}

// add takes a pair; value is nil when it comes from Keys.
func (n *iteration) add(key, value []byte) {
	k, v := string(key), string(value)
	if n.times[k]++; value != nil && strings.HasPrefix(k, "changing") && v <= n.values[k] {
		n.errs = append(n.errs, fmt.Errorf("%s has %q after %q", k, v, n.values[k]))
	}
	n.values[k] = v
}

// check fails unless every key that was there throughout came exactly once.
func (n *iteration) check(t *testing.T, what string, isRange bool) {
	t.Helper()
	for _, err := range n.errs {
		t.Errorf("%s: %v", what, err)
	}
	for i := range staying {
		key, value := numbered(i, n.size)
		if n.times[string(key)] != 1 || isRange && n.values[string(key)] != string(value) {
			t.Errorf("%s: %s comes %d times, with %q", what, key, n.times[string(key)], n.values[string(key)])
		}
	}
	for i := range changing {
		key := fmt.Sprint("changing-", i)
		if !isRange && n.times[key] != 1 {
			t.Errorf("%s: %s, which is overwritten meanwhile, comes %d times", what, key, n.times[key])
		}
	}
}

// sitter is a reader that stays inside its callback.
type sitter struct {
	inside chan struct{} // closed when the reader is inside
	looks  chan struct{} // the reader looks once for each, and leaves when it is closed
	seen   chan error    // the result of each look
	ended  chan error
}

// sit is called in the reader's callback.
func (r *sitter) sit(look func() error) error {
	close(r.inside)
	for range r.looks {
		r.seen <- look()
	}
	return look()
}

// sittings are ways to sit in a callback over the pairs that stay.
var sittings = map[string]func(t *testing.T, s *Store, r *sitter) error{
	"View": func(_ *testing.T, s *Store, r *sitter) error {
		key, want := numbered(0, smallSize)
		return s.View(key, func(value []byte) error {
			return r.sit(func() error { return unchanged(value, want) })
		})
	},
	"View in a View": func(_ *testing.T, s *Store, r *sitter) error {
		first, wantFirst := numbered(1, smallSize)
		second, wantSecond := numbered(staying-1, smallSize)
		return s.View(first, func(one []byte) error {
			return s.View(second, func(other []byte) error {
				return r.sit(func() error { return errors.Join(unchanged(one, wantFirst), unchanged(other, wantSecond)) })
			})
		})
	},
	"View of what is overwritten": func(_ *testing.T, s *Store, r *sitter) error {
		return s.View([]byte("changing-7"), func(value []byte) error {
			want := bytes.Clone(value)
			return r.sit(func() error { return unchanged(value, want) })
		})
	},
	"Range": func(t *testing.T, s *Store, r *sitter) error {
		n := newIteration(smallSize)
		err := s.Range(func(key, value []byte) error {
			n.add(key, value)
			if len(n.times) > 1 {
				return nil
			}
			wantKey, want := bytes.Clone(key), bytes.Clone(value)
			return r.sit(func() error { return errors.Join(unchanged(key, wantKey), unchanged(value, want)) })
		})
		n.check(t, "Range", true)
		return err
	},
	"Keys": func(t *testing.T, s *Store, r *sitter) (err error) {
		n := newIteration(smallSize)
		for key := range s.Keys() {
			if n.add(key, nil); len(n.times) == 1 {
				want := bytes.Clone(key)
				err = r.sit(func() error { return unchanged(key, want) })
			}
		}
		n.check(t, "Keys", false)
		return err
	},
}

func unchanged(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("it shows %q and not %q any more", got, want)
	}
	return nil
}

// sitDown starts every sitting and returns when all are inside their callbacks.
func sitDown(t *testing.T, s *Store) map[string]*sitter {
	t.Helper()
	readers := map[string]*sitter{}
	for name, read := range sittings {
		r := &sitter{make(chan struct{}), make(chan struct{}), make(chan error), make(chan error, 1)}
		readers[name] = r
		go func() { r.ended <- read(t, s, r) }()
		select {
		case <-r.inside:
		case err := <-r.ended:
			t.Fatalf("%s does not sit: %v", name, err)
		}
	}
	return readers
}

func standUp(t *testing.T, readers map[string]*sitter) {
	t.Helper()
	for name, r := range readers {
		close(r.looks)
		if err := <-r.ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// wantNothingHeld waits until every unlisted file is released. The last reader of a file
// leaves its release to a separate goroutine.
func wantNothingHeld(t testing.TB, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		if s.Stats().HeldBytes == 0 && segment.Held() == int64(len(s.Stats().Segments)) {
			return
		}
	}
	t.Fatalf("%d bytes of deleted files, and %d segments for %d files, are still held",
		s.Stats().HeldBytes, segment.Held(), len(s.Stats().Segments))
}

// fileOf returns the segment of a key, by the index.
func fileOf(s *Store, key []byte) segment.ID {
	l := s.catalog.Set()
	return l.File(l.Keys.Get(s.hasher.Fingerprint(key))).ID
}

func TestReadersSitThroughTenCompactionsOfTheirSegment(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fillWithChurn(t, s, smallSize)
	readers := sitDown(t, s)
	watched, _ := numbered(0, smallSize)
	for round := 2; round < 12; round++ {
		before := fileOf(s, watched)
		churn(t, s, round)
		compactAll(t, s)
		if fileOf(s, watched) == before {
			t.Fatalf("round %d did not move what is watched", round)
		}
		for name, r := range readers {
			r.looks <- struct{}{}
			if err := <-r.seen; err != nil {
				t.Fatalf("round %d: %s: %v", round, name, err)
			}
		}
	}
	if s.Stats().HeldBytes == 0 {
		t.Error("nothing counts as held, though readers sit in deleted files")
	}
	standUp(t, readers)
	wantNothingHeld(t, s)
	wantFilled(t, s, 0, staying, smallSize)
}

// manualInMemory is byHand with a disk in memory and tiny index pages.
func manualInMemory(between func(phase string)) *Options {
	o := byHand()
	inject.Into(o, &inject.Seams{FS: crashfs.New(), PageSlots: 8, Manual: true, Between: between})
	return o
}

// iterate runs Range or Keys to the end, and calls pause after every k-th pair.
func iterate(t *testing.T, s *Store, size int, isRange bool, k int, pause func()) *iteration {
	t.Helper()
	n, pairs := newIteration(size), 0
	one := func(key, value []byte) error {
		n.add(key, value)
		if pairs++; pairs%k == 0 {
			pause()
		}
		return nil
	}
	if !isRange {
		for key := range s.Keys() {
			_ = one(key, nil)
		}
		return n
	}
	if err := s.Range(one); err != nil {
		t.Errorf("Range: %v", err)
	}
	return n
}

func TestIterationWithCompactionsAtEveryKthPair(t *testing.T) {
	for k := 1; k <= staying+changing; k++ {
		for variant := range 8 {
			isRange, overwriting, size := variant&1 > 0, variant&2 > 0, smallSize
			if variant&4 > 0 {
				size = largeSize
			}
			what := fmt.Sprintf("Range %v, values of %d, at every %d-th pair, overwriting %v", isRange, size, k, overwriting)
			s := open(t, "/store", manualInMemory(nil))
			fillWithChurn(t, s, size)
			round := 2
			n := iterate(t, s, size, isRange, k, func() {
				// Range also reads the file being written; churn must end some time.
				if overwriting && round < 40 {
					churn(t, s, round)
					round++
				}
				compactAll(t, s)
			})
			n.check(t, what, isRange)
			if runs := s.Stats().Compaction.Runs; runs == 0 {
				t.Errorf("%s: no compaction", what)
			}
			closeStore(t, s)
		}
	}
}

// pulled is an iteration that the test advances.
type pulled struct {
	*iteration
	isRange bool
	began   string
	next    func() ([]byte, []byte, bool)
	stop    func()
}

// pull starts Range or Keys and takes the first pair at once.
func pull(t *testing.T, s *Store, size int, isRange bool, began string) *pulled {
	t.Helper()
	errStopped := errors.New("stopped")
	next, stop := iter.Pull2(func(yield func(key, value []byte) bool) {
		if !isRange {
			for key := range s.Keys() {
				if !yield(key, nil) {
					return
				}
			}
			return
		}
		err := s.Range(func(key, value []byte) error {
			if !yield(key, value) {
				return errStopped
			}
			return nil
		})
		if err != nil && err != errStopped {
			t.Errorf("Range: %v", err)
		}
	})
	p := &pulled{newIteration(size), isRange, began, next, stop}
	p.goOn(1)
	return p
}

// goOn takes more pairs and reports whether there were enough.
func (p *pulled) goOn(pairs int) bool {
	for range pairs {
		key, value, ok := p.next()
		if !ok {
			return false
		}
		p.add(key, value)
	}
	return true
}

// Iterations begin at every phase of a compaction. At each later phase they take a fixed
// number of pairs.
func TestIterationThroughThePhasesOfCompactions(t *testing.T) {
	for step := range 24 {
		size := []int{smallSize, largeSize}[step%2]
		var s *Store
		var all []*pulled
		phases := map[string]bool{}
		between := func(phase string) {
			phases[phase] = true
			for _, p := range all {
				p.goOn(step / 2)
			}
			if len(all) < 60 {
				all = append(all, pull(t, s, size, true, phase), pull(t, s, size, false, phase))
			}
		}
		s = open(t, "/store", manualInMemory(between))
		fillWithChurn(t, s, size)
		for round := 2; round < 9; round++ {
			churn(t, s, round)
			compactAll(t, s)
		}
		for _, p := range all {
			for p.goOn(1) {
			}
			p.stop()
			p.check(t, fmt.Sprintf("begun at %q, Range %v, %d pairs at a time", p.began, p.isRange, step/2), p.isRange)
		}
		if len(phases) < 6 {
			t.Errorf("only the phases %v were seen", phases)
		}
		closeStore(t, s)
	}
}

// skipQuarantine releases the address ranges of unmapped files.
func skipQuarantine(t testing.TB) {
	t.Helper()
	defer vfs.SetQuarantineClock(func() time.Time { return time.Now().Add(time.Hour) })()
	if err := vfs.ReleaseExpired(); err != nil {
		t.Fatal(err)
	}
}

// However many compactions have run, only the listed files count against the process's
// limit of mappings.
func TestHundredCompactionsUseUpNoMappings(t *testing.T) {
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true}) // no file is prepared ahead
	s := open(t, t.TempDir(), o)
	fillWithChurn(t, s, smallSize)
	for round := 2; round < 102; round++ {
		churn(t, s, round)
		compactAll(t, s)
	}
	if runs := s.Stats().Compaction.Runs; runs < 100 {
		t.Errorf("%d compactions", runs)
	}
	for _, spare := range []int{1, 0} {
		wantNothingHeld(t, s)
		skipQuarantine(t)
		restore := vfs.SetMappingLimit(len(s.Stats().Segments) + spare)
		put(t, s, "one", "more")
		restore()
		segments := s.Stats().Segments
		if last := segments[len(segments)-1]; last.Sealed || last.Mapped != (spare > 0) {
			t.Errorf("with %d mappings to spare the next file is %+v", spare, last)
		}
		s.endForTest(t)
	}
}
