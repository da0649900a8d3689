package load

import (
	"fmt"
	"testing"
)

// The model explores every interleaving of the atomic steps of one loader, one writer, one reader and
// one compaction, on one key and two files. Each step of the model is one atomic operation of the
// code. What must hold: the reader finds what the key had at some moment of the read; in the end the
// index has the key's youngest record, or nothing if that is a tombstone; and a key that was deleted
// has a tombstone on disk if any file has a record of it.
//
// The bugs at the end of this file change single steps. The model must find each of them.

// place is where a record lies: a location whose higher value is the younger one. What compaction
// moves gets moved added, and a tombstone has dead added.
type place int8

const (
	nowhere place = 0
	older   place = 1 // in the older file
	younger place = 2 // in the younger file
	written place = 3 // in the tail
	dead    place = 4
	moved   place = 8
	age           = dead - 1
)

// keyState is the state that the threads share, and the state of each.
type keyState struct {
	file     [2]place // what each file has of the key: the older, the younger
	index    place
	partial  bool    // FileSet.Partial
	loaded   bool    // Catalog.Loaded
	unloaded [2]bool // Unloaded
	gone     bool    // compaction has replaced the files
	swept    bool

	loader, writer, reader, compaction threadState
	first                              int // the file that is loaded first
	deletes                            bool

	began, ended bool // the write
	tombstone    bool // the write put one on disk

	wasEnded bool // before the read began
	saw      struct {
		unloaded [2]bool
		index    place
		found    place
		poisoned bool
	}
}

type threadState struct {
	pc   int8
	over bool
	set  bool // the Partial of the set that it has loaded
}

const poison place = 64

// alive is what a read finds of a place: nothing if that is a tombstone.
func alive(p place) place {
	if p&dead != 0 {
		return nowhere
	}
	return p & age
}

func (s *keyState) youngest() place {
	if s.file[1] != nowhere {
		return s.file[1]
	}
	return s.file[0]
}

type stepper struct {
	bug string
	t   *testing.T
}

// load is a step of Loading: the files one after the other, then the end.
func (m stepper) load(s *keyState) {
	pc := s.loader.pc
	s.loader.pc++
	at := s.first
	if pc >= 2 {
		at = 1 - s.first
	}
	flagFirst := m.bug == "a file counts as loaded before its records are in"
	switch {
	case pc < 4 && (pc%2 == 0) != flagFirst:
		loc := s.file[at]
		newer := loc&age > s.index&age
		if m.bug == "slots do not follow age" && loc&age < written && s.index&age < written {
			newer = true
		}
		if m.bug == "the loader replaces what a writer put" {
			newer = true
		}
		if loc != nowhere && newer {
			s.index = loc
		}
	case pc < 4:
		s.unloaded[at] = false
	default:
		m.end(s, int(pc)-4)
	}
}

// end is a step of Loading.end.
func (m stepper) end(s *keyState, at int) {
	order := []string{"readers", "writers", "sweep"}
	switch m.bug {
	case "the index is swept before anybody is told":
		order = []string{"sweep", "readers", "writers"}
	case "writers are told before readers":
		order = []string{"writers", "readers", "sweep"}
	}
	switch order[at] {
	case "readers":
		s.loaded = true
	case "writers":
		s.partial = false
	case "sweep":
		s.sweep()
	}
	if at == len(order)-1 {
		s.swept, s.loader.over = true, true
	}
}

func (s *keyState) sweep() {
	if s.index&dead != 0 {
		s.index = nowhere
	}
}

// write is a step of Store.Delete or Put, and of Log.publish.
func (m stepper) write(s *keyState) {
	end := func() { s.ended, s.writer.over = true, true }
	pc := s.writer.pc
	s.writer.pc++
	switch pc {
	case 0:
		s.began, s.writer.set = true, s.partial
	case 1: // Delete leaves out what the index does not have
		believed := !s.writer.set || m.bug == "a delete is not written while loading"
		if s.deletes && believed && s.index == nowhere {
			end()
		}
	case 2:
		s.tombstone = s.deletes
		s.writer.set = s.partial // of publish
	case 3:
		switch {
		case !s.deletes:
			s.index = written
		case s.writer.set && m.bug != "a delete leaves no placeholder":
			s.index = written | dead
		default:
			s.index = nowhere
		}
		if !s.deletes || !s.writer.set || m.bug == "a placeholder stays" {
			end()
		}
	case 4:
		if s.loaded && s.index == written|dead {
			s.index = nowhere
		}
		end()
	}
}

// read is a step of Store.lookup.
func (m stepper) read(s *keyState) error {
	pc := s.reader.pc
	s.reader.pc++
	before := m.bug != "the index is read before the progress"
	switch {
	case pc == 0:
		if s.reader.set = s.partial; !s.reader.set {
			s.reader.pc = 11
		}
	case pc == 1:
		if s.loaded {
			s.reader.pc = 11
		}
	case pc == 2 && before, pc == 3 && !before:
		s.saw.unloaded = s.unloaded
	case pc == 2, pc == 3:
		s.saw.index = s.index
	case pc == 4:
		m.tables(s)
	case pc == 5:
		if s.loaded && m.bug != "the end is not noticed" {
			s.reader.pc = 0
			return nil
		}
	case pc == 6:
		return s.readEnds(s.saw.found)
	case pc == 11: // search
		s.saw.found = s.index
	case pc == 12:
		return s.readEnds(s.saw.found)
	}
	return nil
}

// tables is Unloaded.Find.
func (m stepper) tables(s *keyState) {
	s.saw.found = s.saw.index
	if m.bug == "absence is believed while loading" {
		return
	}
	if m.bug == "a table is not asked behind an older hit" && s.saw.index != nowhere {
		return
	}
	if m.bug == "a tombstone is believed before younger files" && s.saw.index&dead != 0 {
		return
	}
	for at := 1; at >= 0; at-- {
		than := place(at + 1)
		if !s.saw.unloaded[at] || s.saw.index&age >= than {
			continue
		}
		if s.gone {
			s.saw.found = poison // the file was replaced, and its slot may be another's
			return
		}
		found := s.file[at]
		if m.bug == "a tombstone in a table is skipped" && found&dead != 0 {
			continue
		}
		if found != nowhere {
			s.saw.found = found
			return
		}
	}
}

func (s *keyState) readEnds(found place) error {
	s.reader.over = true
	if found == poison {
		return fmt.Errorf("the read used a file that was replaced")
	}
	was, will := alive(s.youngest()), written
	if s.deletes {
		will = nowhere
	}
	got := alive(found)
	if got == was && !s.wasEnded || got == will && s.began {
		return nil
	}
	return fmt.Errorf("the read found %d; it was %d, and %d after the write (begun %t, ended before %t)", got, was, will, s.began, s.wasEnded)
}

// compact is a step of a compaction, which replaces both files at once.
func (m stepper) compact(s *keyState) {
	s.compaction.over = true
	if alive(s.index) != nowhere && s.index&age < written {
		s.index |= moved
	}
	s.gone = true
}

// explore takes every step that is possible, and then all that are possible after it.
func (m stepper) explore(s keyState, seen map[keyState]bool) error {
	if seen[s] {
		return nil
	}
	seen[s] = true
	try := func(over bool, do func(s *keyState) error) error {
		if over {
			return nil
		}
		next := s
		if err := do(&next); err != nil {
			return err
		}
		return m.explore(next, seen)
	}
	quietly := func(do func(*keyState)) func(*keyState) error {
		return func(s *keyState) error { do(s); return nil }
	}
	mayCompact := s.swept || m.bug == "a compaction before loading has ended" && !s.unloaded[s.first]
	for _, err := range []error{
		try(s.loader.over, quietly(m.load)),
		try(s.writer.over, quietly(m.write)),
		try(s.reader.over, func(s *keyState) error {
			if s.reader.pc == 0 && s.reader.set == false && s.saw.found == nowhere && !s.wasEnded {
				s.wasEnded = s.ended
			}
			return m.read(s)
		}),
		try(s.compaction.over || !mayCompact, quietly(m.compact)),
	} {
		if err != nil {
			return err
		}
	}
	if s.loader.over && s.writer.over && s.reader.over {
		return s.whole()
	}
	return nil
}

// whole checks what holds once all is over.
func (s *keyState) whole() error {
	want := written
	if s.deletes {
		want = nowhere
	}
	switch {
	case s.index&dead != 0:
		return fmt.Errorf("a placeholder is left in the index")
	case s.index&age != want:
		return fmt.Errorf("in the end the index has %d; want %d", s.index, want)
	case s.deletes && !s.tombstone && alive(s.youngest()) != nowhere:
		return fmt.Errorf("the key is deleted, but the next Open finds it")
	}
	return nil
}

// check explores all variants of the two files, of the write, and of the order of loading.
func (m stepper) check() error {
	for _, low := range []place{nowhere, older, older | dead} {
		for _, high := range []place{nowhere, younger, younger | dead} {
			for _, deletes := range []bool{false, true} {
				for first := range 2 {
					s := keyState{file: [2]place{low, high}, partial: true, unloaded: [2]bool{true, true}, first: first, deletes: deletes}
					if err := m.explore(s, map[keyState]bool{}); err != nil {
						return fmt.Errorf("files %v, loaded from %d, delete %t: %w", s.file, first, deletes, err)
					}
				}
			}
		}
	}
	return nil
}

func TestModelOfLoading(t *testing.T) {
	if err := (stepper{t: t}).check(); err != nil {
		t.Error(err)
	}
}

func TestModelOfLoadingFindsBugs(t *testing.T) {
	for _, bug := range []string{
		"a file counts as loaded before its records are in",
		"slots do not follow age",
		"the loader replaces what a writer put",
		"the index is swept before anybody is told",
		"writers are told before readers",
		"a delete is not written while loading",
		"a delete leaves no placeholder",
		"a placeholder stays",
		"the index is read before the progress",
		"the end is not noticed",
		"absence is believed while loading",
		"a table is not asked behind an older hit",
		"a tombstone is believed before younger files",
		"a tombstone in a table is skipped",
		"a compaction before loading has ended",
	} {
		err := (stepper{bug: bug, t: t}).check()
		if err == nil {
			t.Errorf("%s: not found", bug)
			continue
		}
		t.Logf("%s: %v", bug, err)
	}
}
