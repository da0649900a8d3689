package fuzz

import (
	"context"
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
	"github.com/mmapkv/mmapkv/segment"
)

// request and response are one operation on one key.
type request struct {
	kind byte // 'g'et, 'p'ut, 'd'elete, put if 'a'bsent, 's'wap, delete if equal 'x'
	key  int
	put  string
	old  string // of a swap and a delete if equal
}

// response is what an operation returned: a value, or whether a conditional write was made. It is
// also what a key has.
type response struct {
	value string
	found bool
}

// register models a key: the last value put, or nothing.
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
		case 'a', 's', 'x':
			done := output.(response).found
			return done == in.holds(state.(response)), in.after(state.(response), done)
		default:
			return output.(response) == state.(response), state
		}
	},
}

// historiesOfStore is the number of histories of one store. An index only grows, so only a new
// store splits pages again.
const historiesOfStore = 10

// TestLinearizable checks histories of Get, Put and Delete, and of conditional writes among them,
// from eight goroutines on eight keys.
// Tiny segments rotate, compaction runs in the background and by Compact, and hundreds of other
// keys on tiny pages make the index split and rebuild all the time.
func TestLinearizable(t *testing.T) {
	const goroutines, operations, keys = 8, 125, 8
	for _, test := range []struct {
		name      string
		policy    fsync.Policy
		histories int
		draw      func(rng *rand.Rand, keys int, unique string) request
	}{
		{"never", fsync.Never, 100, unconditional},
		{"every", fsync.Every(time.Millisecond), 100, unconditional},
		{"always", fsync.Always, 5, unconditional}, // real syncs are slow
		{"never, conditional", fsync.Never, 50, conditional},
		{"every, conditional", fsync.Every(time.Millisecond), 50, conditional},
		{"always, conditional", fsync.Always, 5, conditional},
	} {
		t.Run(test.name, func(t *testing.T) {
			rotations, runs := 0, 0
			for h := 0; h < test.histories; {
				store := openSmall(t, test.policy)
				stop := compactAgain(t, store)
				for range min(historiesOfStore, test.histories-h) {
					history := record(t, store, h, goroutines, operations, keys, test.draw)
					if !porcupine.CheckOperations(register, history) {
						t.Fatalf("history %d is not linearizable: %v", h, history)
					}
					h++
				}
				stop()
				stats := store.Stats()
				if err := stats.Compaction.LastError; err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("a compaction failed: %v", err)
				}
				runs += stats.Compaction.Runs
				last, _, _ := segment.ParseFileName(stats.Segments[len(stats.Segments)-1].File)
				rotations += int(last) - stats.Compaction.Runs // each run created at most one file
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d histories, %d rotations or more, %d compactions", test.histories, rotations, runs)
			if rotations < test.histories || runs < test.histories {
				t.Error("too few rotations or compactions")
			}
		})
	}
}

// openSmall opens an empty store with tiny segments and tiny pages that compacts at little
// garbage.
func openSmall(t *testing.T, policy fsync.Policy) *mmapkv.Store {
	t.Helper()
	o := &mmapkv.Options{SegmentSize: 16 << 10, Sync: policy}
	o.Compaction.GarbageRatio = 0.05
	inject.Into(o, &inject.Seams{PageSlots: 8})
	store, err := mmapkv.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// compactAgain calls Compact in a loop until stop is called.
func compactAgain(t *testing.T, store *mmapkv.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := store.Compact(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Compact: %v", err)
				return
			}
		}
	})
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// record runs the goroutines and returns what they saw.
func record(t *testing.T, store *mmapkv.Store, round, goroutines, operations, keys int, draw func(rng *rand.Rand, keys int, unique string) request) []porcupine.Operation {
	histories := make([][]porcupine.Operation, goroutines)
	var running sync.WaitGroup
	began := time.Now()
	for g := range goroutines {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(g)))
			for i := range operations {
				in := draw(rng, keys, fmt.Sprint(g, " ", i))
				start := time.Since(began)
				out, err := perform(store, round, in)
				if err != nil {
					t.Errorf("%c: %v", in.kind, err)
					return
				}
				histories[g] = append(histories[g], porcupine.Operation{
					ClientId: g, Input: in, Output: out, Call: int64(start), Return: int64(time.Since(began)),
				})
				// Other keys, so that pages split and rebuild.
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
	case 'a', 's', 'x':
		done, err := in.performIf(store, key)
		return response{found: done}, err
	}
	value, err := store.Get(key)
	if errors.Is(err, mmapkv.ErrNotFound) {
		return response{}, nil
	}
	return response{string(value), true}, err
}
