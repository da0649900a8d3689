// Package oracle holds the contract of the store: given what a program asked
// for, what it was told, and how it ended, it knows which contents a store may
// show afterwards, and calls everything else a violation.
//
// What must hold of a store:
//
//   - While it runs it shows exactly the writes that were acknowledged.
//   - After a kill it shows a prefix of the order of commits that has at least
//     every acknowledged one, each whole.
//   - After a power loss it shows a prefix that has at least what was durable.
//   - A write that was refused is never seen. One that was in doubt, because the
//     program ended or the store failed in the middle of it, is there whole or
//     not at all.
//   - What a reopened store has shown is the beginning of everything after.
package oracle

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// Op is one change of one key.
type Op struct {
	Key    string
	Value  string
	Delete bool
	Expiry int64 // Unix milliseconds; 0: never
}

// Value is what a key has.
type Value struct {
	Bytes  string
	Expiry int64
}

// State is the content of a store, with what has expired in it.
type State map[string]Value

// Apply makes a commit's changes, in order.
func (s State) Apply(ops []Op) {
	for _, op := range ops {
		if op.Delete {
			delete(s, op.Key)
		} else {
			s[op.Key] = Value{op.Value, op.Expiry}
		}
	}
}

// Visible is what reads find of the state at a time.
func (s State) Visible(nowMillis int64) map[string]string {
	visible := make(map[string]string, len(s))
	for key, v := range s {
		if v.Expiry == 0 || v.Expiry > nowMillis {
			visible[key] = v.Bytes
		}
	}
	return visible
}

// Oracle follows one life of a store, from an open to its end. New makes one.
type Oracle struct {
	base         State  // what the open showed
	commits      [][]Op // behind it, in order
	acknowledged int    // how many of them were
	durable      int    // how many must survive a power loss
}

// New starts with what a freshly opened store has shown.
func New(base State) *Oracle {
	o := &Oracle{base: State{}}
	maps.Copy(o.base, base)
	return o
}

// Clone copies the oracle as it is now.
func (o *Oracle) Clone() *Oracle {
	c := *o
	c.commits = slices.Clip(o.commits)
	return &c
}

// Begin says that a write was asked for. Until the next call it is in doubt.
func (o *Oracle) Begin(ops []Op) { o.commits = append(o.commits[:o.acknowledged:o.acknowledged], ops) }

// Acknowledge says that the write returned nil.
func (o *Oracle) Acknowledge() { o.acknowledged = len(o.commits) }

// Refuse says that the write failed in a way after which nothing of it may ever
// be seen.
func (o *Oracle) Refuse() { o.commits = o.commits[:o.acknowledged] }

// Synced says that everything acknowledged is durable.
func (o *Oracle) Synced() { o.durable = o.acknowledged }

// Durable is how many commits must survive a power loss.
func (o *Oracle) Durable() int { return o.durable }

// Expectation identifies what a store may show after a power loss, or after a kill:
// the states behind each number of commits from the least up.
func (o *Oracle) Expectation(powerLost bool) (sum uint64) {
	atLeast := o.acknowledged
	if powerLost {
		atLeast = o.durable
	}
	state := o.after(atLeast)
	sum = state.sum()
	for _, ops := range o.commits[atLeast:] {
		state.Apply(ops)
		sum = sum*31 + state.sum()
	}
	return sum
}

var seed = maphash.MakeSeed()

// sum is the same for the same content, whatever the order of the map.
func (s State) sum() (sum uint64) {
	for key, v := range s {
		sum += maphash.Comparable(seed, struct {
			key string
			v   Value
		}{key, v})
	}
	return sum
}

// Current is what the store shows while it runs.
func (o *Oracle) Current() State { return o.after(o.acknowledged) }

// after is the state behind the first n commits.
func (o *Oracle) after(n int) State {
	s := maps.Clone(o.base)
	for _, ops := range o.commits[:n] {
		s.Apply(ops)
	}
	return s
}

// CheckKill says whether a store may show this after the program was killed, and
// returns the state that the store is in then.
func (o *Oracle) CheckKill(shown map[string]string, nowMillis int64) (State, error) {
	return o.check("kill", o.acknowledged, shown, nowMillis)
}

// CheckPowerLoss is CheckKill after a power loss.
func (o *Oracle) CheckPowerLoss(shown map[string]string, nowMillis int64) (State, error) {
	return o.check("power loss", o.durable, shown, nowMillis)
}

func (o *Oracle) check(end string, atLeast int, shown map[string]string, nowMillis int64) (State, error) {
	state := o.after(atLeast)
	for n := atLeast; ; n++ {
		if maps.Equal(state.Visible(nowMillis), shown) {
			return state, nil
		}
		if n == len(o.commits) {
			return nil, fmt.Errorf("after a %s the store shows what is no prefix of the commits with at least %d of %d (%d acknowledged):\n%s",
				end, atLeast, len(o.commits), o.acknowledged, o.explain(atLeast, shown, nowMillis))
		}
		state.Apply(o.commits[n])
	}
}

// explain says how the shown content differs from the least that must be there.
func (o *Oracle) explain(atLeast int, shown map[string]string, nowMillis int64) string {
	want := o.after(atLeast).Visible(nowMillis)
	text := ""
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got, ok := shown[key]; !ok {
			text += fmt.Sprintf("  %q is missing\n", key)
		} else if got != want[key] {
			text += fmt.Sprintf("  %q is %.30q and not %.30q\n", key, got, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		if _, ok := want[key]; !ok {
			text += fmt.Sprintf("  %q is %.30q and was not there\n", key, shown[key])
		}
	}
	for i, ops := range o.commits {
		text += fmt.Sprintf("  commit %d:", i)
		for _, op := range ops {
			text += fmt.Sprintf(" %s=%.8q delete=%v expires=%d", op.Key, op.Value, op.Delete, op.Expiry)
		}
		text += "\n"
	}
	return text
}
