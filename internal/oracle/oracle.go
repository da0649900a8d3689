// Package oracle holds the contract of the store. Given what a program asked for, what the
// store answered, and how the program ended, it knows which contents a store may show
// afterwards, and reports everything else as a violation.
//
// What must hold of a store:
//
//   - While it runs, it shows exactly the acknowledged writes.
//   - After a kill it shows a prefix of the commits, in order and each whole, with at least all
//     acknowledged ones.
//   - After a power loss it shows such a prefix with at least all durable ones.
//   - A refused write is never seen. A write in doubt, because the program ended or the store
//     failed in the middle of it, is there whole or not at all.
//   - Everything later builds on what a reopened store has shown.
package oracle

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// Op is one change of one key.
type Op struct {
	Key    string // arbitrary bytes
	Value  string // the new value; ignored with Delete
	Delete bool   // the key loses its value
	Expiry int64  // Unix milliseconds; 0: never
}

// Value is the value of a key.
type Value struct {
	Bytes  string // the value itself
	Expiry int64  // Unix milliseconds; 0: never
}

// State is the content of a store, including expired values.
type State map[string]Value

// Apply applies a commit's changes, in order.
func (s State) Apply(ops []Op) {
	for _, op := range ops {
		if op.Delete {
			delete(s, op.Key)
		} else {
			s[op.Key] = Value{op.Value, op.Expiry}
		}
	}
}

// Visible returns what reads find in the state at the given time.
func (s State) Visible(nowMillis int64) map[string]string {
	visible := make(map[string]string, len(s))
	for key, v := range s {
		if v.Expiry == 0 || v.Expiry > nowMillis {
			visible[key] = v.Bytes
		}
	}
	return visible
}

// Oracle follows one life of a store, from Open to its end.
type Oracle struct {
	base         State  // what the open showed
	commits      [][]Op // since then, in order
	acknowledged int    // how many commits were acknowledged
	durable      int    // how many must survive a power loss
}

// New returns an Oracle for a store that showed base when it was opened.
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

// Begin records that a write was asked for. The write is in doubt until the next call.
func (o *Oracle) Begin(ops []Op) { o.commits = append(o.commits[:o.acknowledged:o.acknowledged], ops) }

// Acknowledge records that the write returned nil.
func (o *Oracle) Acknowledge() { o.acknowledged = len(o.commits) }

// Refuse records that the write failed in such a way that no part of it may ever be seen.
func (o *Oracle) Refuse() { o.commits = o.commits[:o.acknowledged] }

// Synced records that everything acknowledged is durable.
func (o *Oracle) Synced() { o.durable = o.acknowledged }

// Durable returns how many commits must survive a power loss.
func (o *Oracle) Durable() int { return o.durable }

// Expectation returns a hash of what a store may show after a power loss, or after a kill: the
// states after each possible number of commits, from the smallest up.
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

// Current returns what the store shows while it runs.
func (o *Oracle) Current() State { return o.after(o.acknowledged) }

// after returns the state after the first n commits.
func (o *Oracle) after(n int) State {
	s := maps.Clone(o.base)
	for _, ops := range o.commits[:n] {
		s.Apply(ops)
	}
	return s
}

// CheckKill checks whether a store may show this content after the program was killed, and
// returns the state that the store is in.
func (o *Oracle) CheckKill(shown map[string]string, nowMillis int64) (State, error) {
	return o.check("kill", o.acknowledged, shown, nowMillis)
}

// CheckPowerLoss does the same after a power loss.
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
			return nil, fmt.Errorf("after a %s the store does not show a prefix of the commits with at least %d of %d (%d acknowledged):\n%s",
				end, atLeast, len(o.commits), o.acknowledged, o.explain(atLeast, shown, nowMillis))
		}
		state.Apply(o.commits[n])
	}
}

// explain describes how the shown content differs from the shortest legal prefix.
func (o *Oracle) explain(atLeast int, shown map[string]string, nowMillis int64) string {
	want := o.after(atLeast).Visible(nowMillis)
	text := ""
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got, ok := shown[key]; !ok {
			text += fmt.Sprintf("  %q is missing\n", key)
		} else if got != want[key] {
			text += fmt.Sprintf("  %q is %.30q, want %.30q\n", key, got, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		if _, ok := want[key]; !ok {
			text += fmt.Sprintf("  %q is %.30q, want no value\n", key, shown[key])
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
