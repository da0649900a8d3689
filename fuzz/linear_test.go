package fuzz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// request and response are one operation on one key.
type request struct {
	kind byte // 'g'et, 'p'ut, 'd'elete
	key  int
	put  string
}

type response struct {
	value string
	found bool
}

// register is what a key is: the last value put, or nothing.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(request).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return response{} },
	Step: func(state, input, output any) (bool, any) {
		switch in := input.(request); in.kind {
		case 'p':
			return true, response{in.put, true}
		case 'd':
			return true, response{}
		default:
			return output.(response) == state.(response), state
		}
	},
}

// TestLinearizable checks histories of Get, Put and Delete from eight goroutines
// on eight keys, with rotation in tiny segments and, through thousands of other
// keys on tiny pages, the index splitting and rebuilding all the while.
func TestLinearizable(t *testing.T) {
	const goroutines, operations, keys, histories = 8, 125, 8, 200
	for _, policy := range []fsync.Policy{fsync.Never, fsync.Every(time.Millisecond), fsync.Always} {
		t.Run(policy.String(), func(t *testing.T) {
			n := histories
			if policy == fsync.Always {
				n = 5 // real syncs take their time
			}
			o := &mmapkv.Options{SegmentSize: 16 << 10, Sync: policy}
			inject.Into(o, &inject.Seams{PageSlots: 8})
			store, err := mmapkv.Open(t.TempDir(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			for h := range n {
				history := record(t, store, h, goroutines, operations, keys)
				if !porcupine.CheckOperations(register, history) {
					t.Fatalf("history %d is not linearizable: %v", h, history)
				}
			}
			if s := len(store.Stats().Segments); s < n/10 {
				t.Errorf("only %d segments", s)
			}
		})
	}
}

// record runs the goroutines and returns what they saw.
func record(t *testing.T, store *mmapkv.Store, round, goroutines, operations, keys int) []porcupine.Operation {
	histories := make([][]porcupine.Operation, goroutines)
	var running sync.WaitGroup
	began := time.Now()
	for g := range goroutines {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(g)))
			for i := range operations {
				in := request{kind: "gpd"[rng.IntN(3)], key: rng.IntN(keys), put: fmt.Sprint(g, " ", i)}
				start := time.Since(began)
				out, err := perform(store, round, in)
				if err != nil {
					t.Errorf("%c: %v", in.kind, err)
					return
				}
				histories[g] = append(histories[g], porcupine.Operation{
					ClientId: g, Input: in, Output: out, Call: int64(start), Return: int64(time.Since(began)),
				})
				// Other keys, so that pages split and are rebuilt.
				other := fmt.Appendf(nil, "other-%d-%d-%d", round, g, i)
				if err := store.Put(other, []byte("x")); err != nil {
					t.Errorf("Put: %v", err)
				}
				if i%2 == 0 {
					if err := store.Delete(other); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
			}
		})
	}
	running.Wait()
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	return all
}

func perform(store *mmapkv.Store, round int, in request) (response, error) {
	key := fmt.Appendf(nil, "key-%d-%d", round, in.key)
	switch in.kind {
	case 'p':
		return response{}, store.Put(key, []byte(in.put))
	case 'd':
		return response{}, store.Delete(key)
	}
	value, err := store.Get(key)
	if errors.Is(err, mmapkv.ErrNotFound) {
		return response{}, nil
	}
	return response{string(value), true}, err
}
