package fuzz

import (
	"math/rand/v2"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// unconditional draws a Get, Put or Delete.
func unconditional(rng *rand.Rand, keys int, unique string) request {
	return request{kind: "gpd"[rng.IntN(3)], key: rng.IntN(keys), put: unique}
}

// conditional draws any operation. The keys and values are few, so that conditions often hold.
func conditional(rng *rand.Rand, keys int, _ string) request {
	const values = "AB"
	value := func() string { return string(values[rng.IntN(len(values))]) }
	return request{kind: "gpdaasssx"[rng.IntN(9)], key: rng.IntN(keys / 2), put: value(), old: value()}
}

// holds reports whether a conditional write is made, in the model.
func (in request) holds(state response) bool {
	if in.kind == 'a' {
		return !state.found
	}
	return state.found && state.value == in.old
}

// after returns what a conditional write makes of the state.
func (in request) after(state response, done bool) response {
	switch {
	case !done:
		return state
	case in.kind == 'x':
		return response{}
	}
	return response{in.put, true}
}

// performIf makes a conditional write.
func (in request) performIf(store *mmapkv.Store, key []byte) (done bool, err error) {
	switch in.kind {
	case 'a':
		return store.PutIfAbsent(key, []byte(in.put))
	case 's':
		return store.CompareAndSwap(key, []byte(in.old), []byte(in.put))
	}
	return store.CompareAndDelete(key, []byte(in.old))
}
