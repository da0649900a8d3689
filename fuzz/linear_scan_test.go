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
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// scanKeys is how many keys the histories with scans have. They cannot be judged key by key, so
// they are few and short.
const scanKeys = 4

// wholeState is the value of each key; empty: none.
type wholeState [scanKeys]string

// wholeRequest is one operation on the keys.
type wholeRequest struct {
	kind byte       // 's'can, 'g'et, or 'w'rite
	key  int        // of a get
	set  wholeState // of a write: the new values; empty: the key stays
	del  [scanKeys]bool
}

// whole models all keys together: a scan reads the state of one moment, and a batch writes at one.
var whole = porcupine.Model{
	Init: func() any { return wholeState{} },
	Step: func(state, input, output any) (bool, any) {
		now, in := state.(wholeState), input.(wholeRequest)
		switch in.kind {
		case 's':
			return output.(wholeState) == now, now
		case 'g':
			return output.(wholeState)[in.key] == now[in.key], now
		}
		for i := range now {
			switch {
			case in.del[i]:
				now[i] = ""
			case in.set[i] != "":
				now[i] = in.set[i]
			}
		}
		return true, now
	},
}

// TestScansAreLinearizable checks histories of Get, Put, Delete, Write, scans in both directions, and
// reads of snapshots from six goroutines, while segments rotate and compactions run: each scan, and each
// snapshot, is the state of one moment between its call and its return.
func TestScansAreLinearizable(t *testing.T) {
	const goroutines, operations = 6, 30
	for _, policy := range []fsync.Policy{fsync.Never, fsync.Every(time.Millisecond)} {
		t.Run(policy.String(), func(t *testing.T) {
			const histories = 60
			rotations, runs, scans := 0, 0, 0
			for h := 0; h < histories && !t.Failed(); {
				store := openSmall(t, policy)
				stop := compactAgain(t, store)
				for range historiesOfStore {
					history := recordWhole(t, store, h, goroutines, operations)
					if !porcupine.CheckOperations(whole, history) {
						t.Fatalf("history %d is not linearizable: %v", h, history)
					}
					for _, op := range history {
						if op.Input.(wholeRequest).kind == 's' {
							scans++
						}
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
			t.Logf("%d histories with %d scans, %d rotations or more, %d compactions", histories, scans, rotations, runs)
			if rotations < histories/2 || runs < histories/2 {
				t.Error("too few rotations or compactions")
			}
		})
	}
}

// recordWhole runs the goroutines and returns what they saw.
func recordWhole(t *testing.T, store *mmapkv.Store, round, goroutines, operations int) (all []porcupine.Operation) {
	var mu sync.Mutex // guards all
	var running sync.WaitGroup
	began := time.Now()
	for g := range goroutines {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(g)))
			for i := range operations {
				in := drawWhole(rng, fmt.Sprint(g, " ", i))
				start := time.Since(began)
				out, err := performWhole(store, rng, round, in)
				end := time.Since(began)
				if err != nil {
					t.Errorf("%c: %v", in.kind, err)
					return
				}
				mu.Lock()
				all = append(all, porcupine.Operation{ClientId: g, Input: in, Output: out, Call: int64(start), Return: int64(end)})
				mu.Unlock()
				// Another key, so that segments rotate.
				if err := store.Put(fmt.Appendf(nil, "other-%d-%d", g, i), make([]byte, 200)); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	running.Wait()
	return all
}

// drawWhole draws an operation. A write changes one key, or several as a batch.
func drawWhole(rng *rand.Rand, value string) wholeRequest {
	in := wholeRequest{kind: "ssgwww"[rng.IntN(6)], key: rng.IntN(scanKeys)}
	if in.kind == 'w' {
		for range 1 + rng.IntN(2)*rng.IntN(scanKeys) {
			key := rng.IntN(scanKeys)
			in.set[key], in.del[key] = value, rng.IntN(3) == 0
		}
	}
	return in
}

// performWhole performs an operation, by one of several ways.
func performWhole(store *mmapkv.Store, rng *rand.Rand, round int, in wholeRequest) (out wholeState, err error) {
	key := func(n int) []byte { return fmt.Appendf(nil, "key-%d-%d", round, n) }
	switch in.kind {
	case 'g':
		value, err := store.Get(key(in.key))
		if errors.Is(err, mmapkv.ErrNotFound) {
			return out, nil
		}
		out[in.key] = string(value)
		return out, err
	case 'w':
		var b mmapkv.Batch
		for n := range scanKeys {
			switch {
			case in.del[n]:
				b.Delete(key(n))
			case in.set[n] != "":
				b.Put(key(n), []byte(in.set[n]))
			}
		}
		return out, store.Write(&b)
	}
	o := mmapkv.ScanOptions{Prefix: fmt.Appendf(nil, "key-%d-", round), Reverse: rng.IntN(2) == 0}
	var pairs []orderedPair
	switch rng.IntN(3) {
	case 0:
		pairs, err = scanned(store, o)
	case 1:
		pairs, err = iterated(store, o)
	default:
		pairs, err = snapshotted(store, o)
	}
	for i, p := range pairs {
		n := int(p.key[len(p.key)-1] - '0')
		out[n] = p.value
		if i > 0 && (p.key < pairs[i-1].key) != o.Reverse {
			err = errors.Join(err, fmt.Errorf("%w: %v", errWrongOrder, pairs))
		}
	}
	return out, err
}

// TestWholeTellsScansOfTwoMoments checks that the model refuses scans that no single moment explains.
func TestWholeTellsScansOfTwoMoments(t *testing.T) {
	batch := porcupine.Operation{Input: wholeRequest{kind: 'w', set: wholeState{"1", "1"}}, Output: wholeState{}, Call: 0, Return: 10}
	scan := func(call, end int64, shown wholeState) porcupine.Operation {
		return porcupine.Operation{ClientId: 1, Input: wholeRequest{kind: 's'}, Output: shown, Call: call, Return: end}
	}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		right   bool
	}{
		"before":          {[]porcupine.Operation{batch, scan(1, 9, wholeState{})}, true},
		"after":           {[]porcupine.Operation{batch, scan(1, 9, wholeState{"1", "1"})}, true},
		"half a batch":    {[]porcupine.Operation{batch, scan(1, 9, wholeState{"1"})}, false},
		"too late":        {[]porcupine.Operation{batch, scan(11, 12, wholeState{})}, false},
		"there and back":  {[]porcupine.Operation{batch, scan(1, 2, wholeState{"1", "1"}), scan(3, 4, wholeState{})}, false},
		"from the future": {[]porcupine.Operation{scan(-2, -1, wholeState{"1", "1"}), batch}, false},
	} {
		if porcupine.CheckOperations(whole, c.history) != c.right {
			t.Errorf("%s is right: %v", name, !c.right)
		}
	}
}
