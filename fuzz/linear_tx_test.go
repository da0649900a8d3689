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
)

// txKeys is how many keys the transactions of a history use.
const txKeys = 4

// txState is the values of all keys; "" means absent.
type txState [txKeys]string

// txOp is what one operation does: it reads some keys, or all in order, and writes some.
type txOp struct {
	reads  []int          // keys; with scan, those are all
	scan   bool           // in order
	writes map[int]string // "" deletes
}

// serial models all keys: an operation must have read the state before it, whole.
var serial = porcupine.Model{
	Init: func() any { return txState{} },
	Step: func(state, input, output any) (bool, any) {
		s, op, seen := state.(txState), input.(txOp), output.(txState)
		for _, key := range op.reads {
			if s[key] != seen[key] {
				return false, s
			}
		}
		for key, value := range op.writes {
			s[key] = value
		}
		return true, s
	},
	Equal: func(a, b any) bool { return a == b },
}

// TestTransactionsAreLinearizable checks histories of transactions, snapshots and plain writes of four
// keys from six goroutines: some order that agrees with the times at which they ran explains all that
// they read. Tiny segments rotate, compaction runs, and the index splits pages.
func TestTransactionsAreLinearizable(t *testing.T) {
	for _, test := range []struct {
		policy    fsync.Policy
		histories int
	}{
		{fsync.Never, 120},
		{fsync.Every(time.Millisecond), 60},
		{fsync.Always, 5}, // real syncs are slow
	} {
		t.Run(test.policy.String(), func(t *testing.T) {
			conflicts := 0
			for h := 0; h < test.histories; {
				store := openSmall(t, test.policy)
				stop := compactAgain(t, store)
				for range min(historiesOfStore, test.histories-h) {
					history, again := recordTx(t, store, h)
					conflicts += again
					if result := porcupine.CheckOperationsTimeout(serial, history, time.Minute); result != porcupine.Ok {
						t.Fatalf("history %d: %v: %v", h, result, history)
					}
					h++
				}
				stop()
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d histories, %d conflicts", test.histories, conflicts)
			if conflicts < test.histories {
				t.Error("too few conflicts")
			}
		})
	}
}

// recordTx runs the goroutines, and returns what they did and how often a transaction ran again.
func recordTx(t *testing.T, store *mmapkv.Store, round int) (history []porcupine.Operation, again int) {
	const goroutines, operations = 6, 25
	var mu sync.Mutex // guards the results
	var running sync.WaitGroup
	began := time.Now()
	for g := range goroutines {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(g)))
			for i := range operations {
				op := drawTx(rng, fmt.Sprint(g, " ", i))
				start := time.Since(began)
				seen, runs, err := performTx(store, round, op, rng.IntN(3) == 0)
				end := time.Since(began)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: g, Input: op, Output: seen, Call: int64(start), Return: int64(end)})
				again += runs - 1
				mu.Unlock()
				if err := store.Put(fmt.Appendf(nil, "other-%d-%d-%d", round, g, i), []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	return history, again
}

// drawTx draws an operation. Some write what they have not read, and some read what they do not write.
func drawTx(rng *rand.Rand, unique string) (op txOp) {
	op.writes = map[int]string{}
	if op.scan = rng.IntN(3) == 0; op.scan {
		op.reads = []int{0, 1, 2, 3}
	} else {
		op.reads = rng.Perm(txKeys)[:rng.IntN(3)]
	}
	for _, key := range rng.Perm(txKeys)[:rng.IntN(3)] {
		if op.writes[key] = unique; rng.IntN(3) == 0 {
			op.writes[key] = ""
		}
	}
	return op
}

// performTx performs an operation, plain if it is a single write. It returns what it read, and how often
// it ran.
func performTx(store *mmapkv.Store, round int, op txOp, plain bool) (seen txState, runs int, err error) {
	name := func(key int) []byte { return fmt.Appendf(nil, "key-%d-%d", round, key) }
	if plain && len(op.reads) == 0 && len(op.writes) == 1 {
		for key, value := range op.writes {
			if value == "" {
				return seen, 1, store.Delete(name(key))
			}
			return seen, 1, store.Put(name(key), []byte(value))
		}
	}
	if plain && len(op.writes) == 0 {
		n, err := store.Snapshot()
		if err != nil {
			return seen, 1, err
		}
		defer n.Close()
		return seen, 1, readTx(n, op, name, &seen)
	}
	err = store.Update(context.Background(), func(tx *mmapkv.Tx) error {
		runs, seen = runs+1, txState{}
		if err := readTx(tx, op, name, &seen); err != nil {
			return err
		}
		for key, value := range op.writes {
			err := tx.Put(name(key), []byte(value))
			if value == "" {
				err = tx.Delete(name(key))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return seen, runs, err
}

// readTx reads what an operation reads.
func readTx(r mmapkv.Reader, op txOp, name func(key int) []byte, seen *txState) error {
	if op.scan {
		prefix := name(0)
		return r.Scan(mmapkv.ScanOptions{Prefix: prefix[:len(prefix)-1]}, func(key, value []byte) error {
			seen[key[len(key)-1]-'0'] = string(value)
			return nil
		})
	}
	for _, key := range op.reads {
		value, err := r.Get(name(key))
		if err != nil && !errors.Is(err, mmapkv.ErrNotFound) {
			return err
		}
		seen[key] = string(value)
	}
	return nil
}
