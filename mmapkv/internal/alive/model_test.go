package alive

import (
	"strings"
	"testing"
)

// The model explores every interleaving of a writer that overwrites a key, a compaction that moves the
// key's record, and a reader that gets the key and then goes through the files, as Range does. Each
// step is one atomic operation of the code. The key's record lies in file before; the compaction copies
// it to file copied, and the writer writes a new one to file tail.
//
// What must hold in every state: the record that the index points to is alive by its bit, and lies in
// a file that readers have. A reader that began after the write was acknowledged, or that saw it, is not
// shown an older record. A reader whose Range no write overlaps is shown the key exactly once. In the end
// the bits are those of the index.

// The files.
const (
	before = iota
	copied
	tail
	files
	nowhere = -1
)

// modelState is what the threads share, and their variables.
type modelState struct {
	index     int8        // the file whose record the index points to
	bits      [files]bool // of the record in each file
	readable  [files]bool // what the published set has
	walkable  [files]bool // what a Range goes through
	dropped   bool        // before is about to go
	written   bool
	published bool

	pc [3]int8

	old   int8 // what the writer replaced
	found bool // the compaction found the record alive

	sawNew, beganPublished, settled bool
	walks                           int8 // the file that the reader goes through first
	shown                           int8 // how often the reader was shown an old record
}

// thread takes the next step of one thread. It reports whether the thread has ended, and what is wrong.
type thread func(s *modelState, pc *int8, bug string) (ended bool, wrong string)

// write is publishPut and markDead, between markWritten and the end of publish.
func write(s *modelState, pc *int8, bug string) (ended bool, wrong string) {
	swap := func() { s.old, s.index = s.index, tail }
	clear := func() {
		if s.old != nowhere && s.readable[s.old] {
			s.bits[s.old] = false
		}
	}
	steps := []func(){func() { s.written = true }, func() { s.bits[tail] = true }, swap, clear, func() { s.published = true }}
	switch bug {
	case "a bit is set after the index":
		steps[1], steps[2] = steps[2], steps[1]
	case "a bit is cleared before the index":
		steps[2], steps[3] = func() { s.old = s.index; clear() }, swap
	case "a bit is never cleared":
		steps[3] = func() {}
	}
	if int(*pc) == len(steps) {
		return true, ""
	}
	steps[*pc]()
	*pc++
	return false, ""
}

// compact is copyFile and switchTo.
func compact(s *modelState, pc *int8, bug string) (ended bool, wrong string) {
	switch *pc++; *pc - 1 {
	case 0:
		s.found = s.bits[before]
	case 1:
		s.dropped = bug != "a file is not marked before its records are moved"
	case 2:
		s.readable[copied] = true
	case 3:
		if s.found && bug != "a copy's bit is never set" {
			s.bits[copied] = true
		}
	case 4:
		if s.found && s.index == before {
			s.index = copied
			*pc++ // it won
		}
	case 5:
		if s.found && bug != "the bit of a copy that lost stays set" {
			s.bits[copied] = false
		}
	case 6:
		if s.index == before {
			return false, "a file goes while the index points into it"
		}
		s.readable[before], s.walkable[before], s.walkable[copied] = false, false, true
	default:
		*pc--
		return true, ""
	}
	return false, ""
}

// read is a Get, and then a Range that goes through one of the two files that may have the old record.
func read(s *modelState, pc *int8, bug string) (ended bool, wrong string) {
	switch *pc++; *pc - 1 {
	case 0:
		s.sawNew = s.index == tail
	case 1:
		s.beganPublished = s.published
		s.settled = s.published || bug == "Range does not ask while a write is published"
	case 2: // Written is loaded after Published
		s.settled = s.settled || !s.written
	case 3:
		s.walks = copied
		if s.walkable[before] {
			s.walks = before
		}
	case 4:
		if !s.bits[s.walks] {
			*pc = 8
		}
	case 5:
		if !s.settled && s.published {
			s.settled = true
			if bug != "a bit is not tested again once all is settled" && !s.bits[s.walks] {
				*pc = 8
			}
		}
	case 6:
		moved := s.walks == before && s.dropped && bug != "Range believes the bit of a moved record"
		switch {
		case !moved && (s.settled || s.index == s.walks):
			s.shown++
			*pc = 8
		case !moved && !(s.walks == before && s.dropped):
			*pc = 8
		}
	case 7: // the key is looked up; the old record is its record in either file
		if s.index != tail {
			s.shown++
		}
	case 8:
		switch {
		case s.shown > 0 && (s.beganPublished || s.sawNew):
			return false, "a reader that had seen the new record is shown the old one"
		case s.shown == 0 && !s.written:
			return false, "a reader is not shown a record that nobody has overwritten"
		}
	default:
		*pc--
		return true, ""
	}
	return false, ""
}

// explore goes through all interleavings from a state, and returns what is wrong in the first bad one.
func explore(s modelState, bug string, seen map[modelState]bool) (wrong string) {
	if seen[s] {
		return ""
	}
	seen[s] = true
	if s.index != nowhere && (!s.bits[s.index] || !s.readable[s.index]) {
		return "the index points to a record that is dead by its bit, or that nobody can read"
	}
	running := false
	for i, step := range []thread{write, compact, read} {
		next := s
		ended, wrong := step(&next, &next.pc[i], bug)
		if wrong != "" {
			return wrong
		}
		if ended {
			continue
		}
		running = true
		if wrong := explore(next, bug, seen); wrong != "" {
			return wrong
		}
	}
	for f := range int8(files) {
		if !running && s.readable[f] && s.bits[f] != (s.index == f) {
			return "in the end a bit is not that of the index"
		}
	}
	return ""
}

// start is the state before the first step.
func start() modelState {
	s := modelState{index: before, old: nowhere}
	s.bits[before] = true
	s.readable, s.walkable = [files]bool{before: true, tail: true}, [files]bool{before: true, tail: true}
	return s
}

func TestEveryInterleavingOfTheBits(t *testing.T) {
	seen := map[modelState]bool{}
	if wrong := explore(start(), "", seen); wrong != "" {
		t.Error(wrong)
	}
	if len(seen) < 500 {
		t.Errorf("only %d states", len(seen))
	}
}

// The model sees each of these bugs.
func TestTheModelSeesEachBug(t *testing.T) {
	for bug, want := range map[string]string{
		"a bit is set after the index":                      "dead by its bit",
		"a bit is cleared before the index":                 "dead by its bit",
		"a bit is never cleared":                            "",
		"a copy's bit is never set":                         "dead by its bit",
		"the bit of a copy that lost stays set":             "",
		"a file is not marked before its records are moved": "shown the old one",
		"Range believes the bit of a moved record":          "shown the old one",
		"Range does not ask while a write is published":     "shown the old one",
		"a bit is not tested again once all is settled":     "shown the old one",
	} {
		wrong := explore(start(), bug, map[modelState]bool{})
		if wrong == "" || !strings.Contains(wrong, want) {
			t.Errorf("%s: %q", bug, wrong)
		}
	}
}
