package segment

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

// The model explores every interleaving of the atomic steps of lifetime.go. A few threads read, hold
// and retire two segments, one of which replaces the other. Each step of the model is one atomic
// operation of the code, and is named after it. What must hold in every state: no thread reads a
// released segment, no segment is released twice, and a user who is refused a segment finds a set that
// does not name it. Once all threads have ended, each retired segment is released, and no slot or count
// is in use.
//
// The bugs at the end of this file change single steps. The model must find each of them.

const (
	modelSlots   = 2 // few, so that some reads find no slot and are counted
	modelThreads = 4
	none         = -1
)

// modelState is the state that the threads share, and the state of each thread.
type modelState struct {
	segments [2]struct {
		holds              int8
		retired, releasing bool
		released           int8 // number of times
	}
	set     int8 // the segment that the published set names; none after Close
	slots   [modelSlots]int8
	threads [modelThreads]modelThread
}

// modelThread is one goroutine: its program counter and its variables.
type modelThread struct {
	pc      int8
	loaded  int8 // found.file: the segment that the set named
	pins    [2]modelPin
	leaving int8 // the segment that releaseIfUnused and claimRelease check
	saw     bool // retired, as a planted bug remembers it
}

// modelPin is a Pin, or a use by Acquire, which has no slot.
type modelPin struct{ segment, slot int8 }

// step is one atomic operation. It returns the step that follows: goOn for the next one, or a label.
type step struct {
	name string
	do   func(s *modelState, t *modelThread) (next *int8, err error)
}

var (
	goOn    = new(int8)
	blocked = new(int8)
)

// program is what a thread does. bug is planted in it.
type program struct {
	bug   string
	id    int  // of the thread
	blind bool // the next take or acquire does not check retired
	steps []step
}

func (p *program) add(name string, do func(s *modelState, t *modelThread) (*int8, error)) {
	p.steps = append(p.steps, step{name, do})
}

func (p *program) here() int8 { return int8(len(p.steps)) }

func (p *program) number(segment int8) int8 {
	if p.bug == "a number is used twice" {
		return 1
	}
	return segment + 1
}

// load is found.load: it loads the segment from the published set, and jumps to ended if there is none.
func (p *program) load(ended *int8) {
	p.add("Store.live.Load", func(s *modelState, t *modelThread) (*int8, error) {
		if t.loaded = s.set; s.set == none {
			return ended, nil
		}
		return goOn, nil
	})
}

// take is Pin.Take of the loaded segment.
func (p *program) take(pin int, refused *int8) {
	defer p.forgetLoaded()
	if p.bug != "Take keeps the previous use" {
		p.releasePin(pin) // a no-op if the Pin is unused
	}
	if p.bug == "a Pin checks before it announces itself" {
		p.look(refused)
	}
	p.claim(pin)
	if p.blind || p.bug == "a Pin checks before it announces itself" || p.bug == "a Pin does not check" {
		return
	}
	admitted, out := new(int8), new(int8)
	p.add("retired.Load in Take", func(s *modelState, t *modelThread) (*int8, error) {
		segment := t.pins[pin].segment
		if p.bug == "a counted Pin does not check" && t.pins[pin].slot == none {
			return admitted, nil
		}
		if !s.segments[segment].retired {
			return admitted, nil
		}
		return out, wasReplaced(s, segment)
	})
	*out = p.here()
	p.end(pin, refusedUse)
	p.jump(refused)
	*admitted = p.here()
}

// look checks whether the loaded segment is retired, before anything else.
func (p *program) look(refused *int8) {
	p.add("retired.Load before the announcement", func(s *modelState, t *modelThread) (*int8, error) {
		if s.segments[t.loaded].retired {
			return refused, wasReplaced(s, t.loaded)
		}
		return goOn, nil
	})
}

// wasReplaced checks what a refused user relies on: the set no longer names the segment.
func wasReplaced(s *modelState, segment int8) error {
	if s.set == segment {
		return fmt.Errorf("segment %d is refused, but the set still names it", segment)
	}
	return nil
}

// claim is claimSlot, and holds.Add(1) if that finds no slot.
func (p *program) claim(pin int) {
	claimed := new(int8)
	if pin > 0 && p.bug == "a nested read shares the slot" {
		p.add("slot.Store in the slot of the outer read", func(s *modelState, t *modelThread) (*int8, error) {
			t.pins[pin] = modelPin{t.loaded, t.pins[0].slot}
			if t.pins[pin].slot == none {
				s.segments[t.loaded].holds++
			} else {
				s.slots[t.pins[pin].slot] = p.number(t.loaded)
			}
			return claimed, nil
		})
	}
	for try := range modelSlots {
		at := int8((p.id + try) % modelSlots)
		p.add(fmt.Sprintf("slots[%d].CompareAndSwap", at), func(s *modelState, t *modelThread) (*int8, error) {
			if s.slots[at] != 0 && p.bug != "a slot is stored without a compare-and-swap" {
				return goOn, nil
			}
			s.slots[at] = p.number(t.loaded)
			t.pins[pin] = modelPin{t.loaded, at}
			return claimed, nil
		})
	}
	p.add("holds.Add(1) in Take", func(s *modelState, t *modelThread) (*int8, error) {
		s.segments[t.loaded].holds++
		t.pins[pin] = modelPin{t.loaded, none}
		return goOn, nil
	})
	*claimed = p.here()
}

// acquire is Acquire of the loaded segment. pin stands for the use.
func (p *program) acquire(pin int, refused *int8) {
	defer p.forgetLoaded()
	if p.bug == "Acquire checks before it counts" {
		p.look(refused)
	}
	p.add("holds.Add(1) in Acquire", func(s *modelState, t *modelThread) (*int8, error) {
		s.segments[t.loaded].holds++
		t.pins[pin] = modelPin{t.loaded, none}
		return goOn, nil
	})
	if p.blind || p.bug == "Acquire checks before it counts" {
		return
	}
	admitted, out := new(int8), new(int8)
	p.add("retired.Load in Acquire", func(s *modelState, t *modelThread) (*int8, error) {
		segment := t.pins[pin].segment
		if !s.segments[segment].retired {
			return admitted, nil
		}
		return out, wasReplaced(s, segment)
	})
	*out = p.here()
	p.end(pin, refusedUse)
	p.jump(refused)
	*admitted = p.here()
}

// releasePin is Pin.Release, a no-op if the Pin is unused.
func (p *program) releasePin(pin int) {
	used, out := new(int8), new(int8)
	p.local(func(t *modelThread) *int8 {
		if t.pins[pin].segment == none {
			return out
		}
		return used
	})
	*used = p.here()
	p.end(pin, pinUse)
	*out = p.here()
}

// release is Release of a use by acquire.
func (p *program) release(pin int) { p.end(pin, acquiredUse) }

// use is the kind of use that ends.
type use int

const (
	pinUse use = iota
	acquiredUse
	refusedUse
)

// end is the common part of Pin.Release and Release: it ends the use, and calls releaseIfUnused. The
// segment must not have been released before.
func (p *program) end(pin int, use use) {
	if p.bug == "a leaving user checks before it has left" {
		p.add("retired.Load before leaving", func(s *modelState, t *modelThread) (*int8, error) {
			t.saw = s.segments[t.pins[pin].segment].retired
			return goOn, nil
		})
	}
	p.add("slot.Store(0) or holds.Add(-1)", func(s *modelState, t *modelThread) (*int8, error) {
		u := t.pins[pin]
		if use != refusedUse && s.segments[u.segment].released > 0 {
			return nil, fmt.Errorf("segment %d was released while it was read", u.segment)
		}
		t.pins[pin] = modelPin{none, none}
		if u.slot != none {
			s.slots[u.slot] = 0
		} else {
			s.segments[u.segment].holds--
		}
		t.leaving = u.segment
		return goOn, nil
	})
	out := new(int8)
	if p.bug == "a leaving user does not search" || use == refusedUse && p.bug == "a refused user does not search" ||
		use == acquiredUse && p.bug == "Release does not search" {
		p.jump(out)
	}
	p.add("retired.Load in releaseIfUnused", func(s *modelState, t *modelThread) (*int8, error) {
		retired := s.segments[t.leaving].retired
		if p.bug == "a leaving user checks before it has left" {
			retired = t.saw
		}
		if !retired {
			return out, nil
		}
		return goOn, nil
	})
	p.claimRelease(out, "releaseIfUnused")
	*out = p.here()
	p.forget()
}

func (p *program) forgetLoaded() {
	p.local(func(t *modelThread) *int8 {
		t.loaded = none
		return goOn
	})
}

// forget clears what the thread no longer needs, so that equivalent states are equal.
func (p *program) forget() {
	p.local(func(t *modelThread) *int8 {
		t.leaving, t.saw = none, false
		return goOn
	})
}

// claimRelease is claimRelease of the segment that the thread leaves or retires, and release if that
// returns true.
func (p *program) claimRelease(no *int8, by string) {
	count := func() {
		if p.bug == "the count is not checked" || p.bug == by+" does not check the count" {
			return
		}
		p.add("holds.Load", func(s *modelState, t *modelThread) (*int8, error) {
			if s.segments[t.leaving].holds != 0 {
				return no, nil
			}
			return goOn, nil
		})
	}
	slots := func() {
		if p.bug == "the slots are not checked" || p.bug == by+" does not check the slots" {
			return
		}
		for at := range modelSlots {
			p.add(fmt.Sprintf("slots[%d].Load", at), func(s *modelState, t *modelThread) (*int8, error) {
				if s.slots[at] == p.number(t.leaving) {
					return no, nil
				}
				return goOn, nil
			})
		}
	}
	if strings.Contains(p.bug, "slots before the count") {
		slots()
		count()
	} else {
		count()
		slots()
	}
	release := func(s *modelState, t *modelThread) (*int8, error) {
		s.segments[t.leaving].releasing = true
		if s.segments[t.leaving].released++; s.segments[t.leaving].released > 1 {
			return nil, fmt.Errorf("segment %d is released twice", t.leaving)
		}
		return goOn, nil
	}
	mayNot := func(s *modelState, t *modelThread) bool { return s.segments[t.leaving].releasing }
	switch {
	case p.bug == "nothing decides who releases", by == "Retire" && p.bug == "Retire releases again":
		p.add("release", release)
	case p.bug == "releasing is loaded, then stored":
		p.add("releasing.Load", func(s *modelState, t *modelThread) (*int8, error) {
			if mayNot(s, t) {
				return no, nil
			}
			return goOn, nil
		})
		p.add("releasing.Store, release", release)
	default:
		p.add("releasing.CompareAndSwap, release", func(s *modelState, t *modelThread) (*int8, error) {
			if mayNot(s, t) {
				return no, nil
			}
			return release(s, t)
		})
	}
}

// retire is Retire.
func (p *program) retire(segment int8) {
	out := new(int8)
	mark := func() {
		p.add("retired.Store in Retire", func(s *modelState, t *modelThread) (*int8, error) {
			s.segments[segment].retired = true
			t.leaving = segment
			return goOn, nil
		})
	}
	switch p.bug {
	case "Retire searches, then marks":
		searched := new(int8)
		p.local(func(t *modelThread) *int8 { t.leaving = segment; return goOn })
		p.claimRelease(searched, "Retire")
		*searched = p.here()
		mark()
	case "Retire does not search":
		mark()
	default:
		mark()
		p.claimRelease(out, "Retire")
	}
	*out = p.here()
	p.forget()
}

// publish makes the set name another segment, or none. It waits until the set names before: the steps
// of a compaction and of Close follow each other.
func (p *program) publish(segment, before int8) {
	p.add("Store.live.Store", func(s *modelState, t *modelThread) (*int8, error) {
		if s.set != before {
			return blocked, nil
		}
		s.set = segment
		return goOn, nil
	})
}

// local is a decision that touches no shared state. It is a step of the program, but other threads
// cannot observe it, so it is no step of the exploration.
func (p *program) local(do func(t *modelThread) *int8) {
	p.steps = append(p.steps, step{"", func(_ *modelState, t *modelThread) (*int8, error) { return do(t), nil }})
}

func (p *program) jump(to *int8) { p.local(func(*modelThread) *int8 { return to }) }

// The roles. Each loads the segment from the set again until the segment admits it.

// view is Store.View.
func view(p *program) {
	again, end := new(int8), new(int8)
	p.load(end)
	p.take(0, again)
	p.releasePin(0)
	*end = p.here()
}

// view2 moves from one segment to another with one Pin, like a read that finds the record of another
// key first.
func view2(p *program) {
	again, end := new(int8), new(int8)
	for range 2 {
		p.load(end)
		p.take(0, again)
	}
	*end = p.here()
	p.releasePin(0)
}

// nested is a View in the callback of a View.
func nested(p *program) {
	again, rest, end := new(int8), new(int8), new(int8)
	p.load(end)
	p.take(0, again)
	p.load(rest)
	p.take(1, rest)
	p.releasePin(1)
	*rest = p.here()
	p.releasePin(0)
	*end = p.here()
}

// hold is Acquire and Release, as in Range.
func hold(p *program) {
	again, end := new(int8), new(int8)
	p.load(end)
	p.acquire(0, again)
	p.release(0)
	*end = p.here()
}

// toCount moves from a Pin to a count. If the count is refused, the Pin suffices.
func toCount(p *program) {
	again, refused, end := new(int8), new(int8), new(int8)
	p.load(end)
	p.take(0, again)
	p.convert("a Pin becomes a count unchecked", func() { p.acquire(1, refused) })
	p.releasePin(0)
	p.release(1)
	p.jump(end)
	*refused = p.here()
	p.releasePin(0)
	*end = p.here()
}

// toPin moves from a count to a Pin. If the Pin is refused, the count suffices.
func toPin(p *program) {
	again, refused, end := new(int8), new(int8), new(int8)
	p.load(end)
	p.acquire(0, again)
	p.convert("a count becomes a Pin unchecked", func() { p.take(1, refused) })
	p.release(0)
	p.releasePin(1)
	p.jump(end)
	*refused = p.here()
	p.release(0)
	*end = p.here()
}

// convert makes a user of a segment start a second use of another kind. The bug is that it trusts its
// first use, and does not check retired.
func (p *program) convert(bug string, to func()) {
	p.local(func(t *modelThread) *int8 {
		t.loaded = t.pins[0].segment
		return goOn
	})
	p.blind = strings.Contains(p.bug, bug)
	to()
	p.blind = false
}

// compactor replaces segment 0 with segment 1.
func compactor(p *program) {
	if p.bug == "Retire comes before the set without it" {
		p.retire(0)
		p.publish(1, 0)
		return
	}
	p.publish(1, 0)
	p.retire(0)
}

// closer is Store.release. It may retire segment 0 as well, while or after the compactor does.
func closer(p *program) {
	p.publish(none, 1)
	p.retire(0)
	p.retire(1)
}

// explorer visits all reachable states.
type explorer struct {
	programs [modelThreads]program
	seen     map[modelState]struct{}
}

func newExplorer(bug string, roles ...func(*program)) *explorer {
	e := &explorer{seen: map[modelState]struct{}{}}
	for i, role := range roles {
		e.programs[i] = program{bug: bug, id: i}
		role(&e.programs[i])
	}
	return e
}

// take runs the next step of a thread, and the local decisions that follow it.
func (e *explorer) take(s *modelState, thread int) (moved bool, err error) {
	steps, t := e.programs[thread].steps, &s.threads[thread]
	for first := true; int(t.pc) < len(steps) && (first || steps[t.pc].name == ""); first = false {
		next, err := steps[t.pc].do(s, t)
		switch {
		case err != nil:
			return true, err
		case next == blocked:
			return false, nil
		case next == goOn:
			t.pc++
		default:
			t.pc = *next
		}
	}
	return true, nil
}

// run explores all states from the start. It returns the first error, with the steps that lead to it.
func (e *explorer) run() error {
	var start modelState
	for i := range start.threads {
		start.threads[i] = modelThread{loaded: none, pins: [2]modelPin{{none, none}, {none, none}}, leaving: none}
	}
	type visit struct {
		state  modelState
		thread int // the next one to try
		moved  bool
	}
	way := []visit{{state: start}}
	e.seen[start] = struct{}{}
	for len(way) > 0 {
		here := &way[len(way)-1]
		if here.thread == modelThreads {
			if !here.moved {
				if err := e.atTheEnd(&here.state); err != nil {
					return err
				}
			}
			way = way[:len(way)-1]
			continue
		}
		thread := here.thread
		here.thread++
		if int(here.state.threads[thread].pc) == len(e.programs[thread].steps) {
			continue
		}
		next := here.state
		moved, err := e.take(&next, thread)
		if err != nil {
			var story strings.Builder
			for _, v := range way {
				thread := v.thread - 1
				fmt.Fprintf(&story, "\n\tthread %d: %s", thread, e.programs[thread].steps[v.state.threads[thread].pc].name)
			}
			return fmt.Errorf("%w:%s", err, story.String())
		}
		if !moved {
			continue
		}
		here.moved = true
		if _, seen := e.seen[next]; !seen {
			e.seen[next] = struct{}{}
			way = append(way, visit{state: next})
		}
	}
	return nil
}

// atTheEnd checks a state in which no thread can take a step.
func (e *explorer) atTheEnd(s *modelState) error {
	for i, t := range s.threads {
		if int(t.pc) != len(e.programs[i].steps) {
			return fmt.Errorf("thread %d is stuck at %s", i, e.programs[i].steps[t.pc].name)
		}
	}
	for i, segment := range s.segments {
		if segment.retired && segment.released != 1 || segment.holds != 0 {
			return fmt.Errorf("at the end segment %d is %+v", i, segment)
		}
	}
	if s.slots != [modelSlots]int8{} {
		return fmt.Errorf("at the end the slots have %v", s.slots)
	}
	return nil
}

// scenes are the threads that run at the same time.
var scenes = []struct {
	name   string
	roles  []func(*program)
	states int // number of reachable states
}{
	{"a view and a holder", []func(*program){view, hold, compactor, closer}, 79622},
	{"three views, of which two find a slot", []func(*program){view, view, view, compactor}, 192143},
	{"two views and a holder", []func(*program){view, view, hold, compactor}, 71614},
	{"a nested view", []func(*program){nested, view, compactor, closer}, 215514},
	{"a Pin moves to another segment", []func(*program){view2, hold, compactor, closer}, 180003},
	{"from a slot to a count", []func(*program){toCount, view, compactor, closer}, 129645},
	{"from a count to a slot", []func(*program){toPin, view, compactor, closer}, 127833},
}

const conversions = 5 // the scenes from here on

func TestModelOfLifetimes(t *testing.T) {
	for _, scene := range scenes {
		e := newExplorer("", scene.roles...)
		if err := e.run(); err != nil {
			t.Errorf("%s: %v", scene.name, err)
		}
		if len(e.seen) != scene.states {
			t.Errorf("%s: %d states, want %d", scene.name, len(e.seen), scene.states)
		}
	}
}

// modelBugs are faulty changes to the model, and to the code.
var modelBugs = []string{
	"a Pin checks before it announces itself",
	"a Pin does not check",
	"a counted Pin does not check",
	"Acquire checks before it counts",
	"Take keeps the previous use",
	"a nested read shares the slot",
	"a slot is stored without a compare-and-swap",
	"a leaving user does not search",
	"a leaving user checks before it has left",
	"a refused user does not search",
	"Release does not search",
	"Retire searches, then marks",
	"Retire does not search",
	"Retire comes before the set without it",
	"Retire does not check the count",
	"Retire does not check the slots",
	"releaseIfUnused does not check the count",
	"releaseIfUnused does not check the slots",
	"nothing decides who releases",
	"releasing is loaded, then stored",
	"Retire releases again",
	"a number is used twice",
	"a Pin becomes a count unchecked",
	"slots before the count; a count becomes a Pin unchecked",
}

func TestModelFindsPlantedBugs(t *testing.T) {
	for _, bug := range modelBugs {
		if err := explore(bug); err == nil {
			t.Errorf("%q is not found", bug)
		} else {
			t.Logf("%s: %v", bug, err)
		}
	}
}

// claimRelease may check the count and the slots in either order, because every admitted user has
// checked retired, even if it already used the segment in another way. If a user moved from a count to
// a Pin without that check, claimRelease would have to check the count first; if a user moved from a
// Pin to a count without it, the slots.
func TestModelOfTheOrderOfChecks(t *testing.T) {
	for _, change := range []struct {
		name  string
		wrong bool
	}{
		{"slots before the count", false},
		{"a count becomes a Pin unchecked", false},
		{"slots before the count; a count becomes a Pin unchecked", true},
		{"a Pin becomes a count unchecked", true},
		{"slots before the count; a Pin becomes a count unchecked", false},
	} {
		var found error
		for _, scene := range scenes[conversions:] {
			found = cmp.Or(found, newExplorer(change.name, scene.roles...).run())
		}
		if (found != nil) != change.wrong {
			t.Errorf("%s: %v", change.name, found)
		}
	}
}

// explore returns the first error in any scene.
func explore(bug string) error {
	for _, scene := range scenes {
		if err := newExplorer(bug, scene.roles...).run(); err != nil {
			return fmt.Errorf("%s: %w", scene.name, err)
		}
	}
	return nil
}
