package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
)

const (
	bankAccounts = 12
	bankTotal    = bankAccounts * 1000
)

func account(i int) []byte { return fmt.Appendf(nil, "account-%02d", i) }

// transfer moves money between two accounts. An account that is empty is deleted, and one that is
// opened appears, so that scans meet phantoms.
func transfer(tx *Tx, rng *rand.Rand) error {
	from, to := account(rng.IntN(bankAccounts)), account(rng.IntN(bankAccounts))
	if string(from) == string(to) {
		return nil
	}
	has, err := balance(tx, from)
	if err != nil {
		return err
	}
	amount := rng.IntN(has + 1)
	if rng.IntN(4) == 0 {
		amount = has
	}
	if amount == has {
		err = tx.Delete(from)
	} else {
		err = tx.Put(from, strconv.AppendInt(nil, int64(has-amount), 10))
	}
	if err != nil {
		return err
	}
	other, err := balance(tx, to)
	if err != nil || amount+other == 0 {
		return err
	}
	return tx.Put(to, strconv.AppendInt(nil, int64(other+amount), 10))
}

func balance(r Reader, key []byte) (int, error) {
	value, err := r.Get(key)
	if err == ErrNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

// total adds up all accounts, in one of several ways.
func total(r Reader, way int) (sum int, err error) {
	o := ScanOptions{Prefix: []byte("account-"), Reverse: way%2 == 0}
	switch way % 3 {
	case 0:
		err = r.Scan(o, func(_, value []byte) error {
			n, err := strconv.Atoi(string(value))
			sum += n
			return err
		})
	case 1:
		it, err := r.Iterator(o)
		if err != nil {
			return 0, err
		}
		defer it.Close()
		for _, value := range it.Pairs() {
			n, err := strconv.Atoi(string(value))
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, it.Err()
	default:
		for i := range bankAccounts {
			n, err := balance(r, account(i))
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, err
}

// audit checks the total in a transaction, and writes it down, so that the audit is a transaction with
// writes.
func audit(s *Store, id, way int) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		sum, err := total(tx, way)
		if err != nil {
			return err
		}
		if sum != bankTotal {
			return fmt.Errorf("a transaction sees %d", sum)
		}
		return tx.Put(fmt.Append(nil, "audit-", id), strconv.AppendInt(nil, int64(sum), 10))
	})
}

// TestBank moves money between accounts in transactions, while others add it up in transactions,
// snapshots and scans, files are tiny, and compaction runs. The total never changes, and neither does a
// reopen change it.
func TestBank(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Never, fsync.Always} {
		t.Run(policy.String(), func(t *testing.T) {
			rounds := 600
			if policy == fsync.Always {
				rounds = 60
			}
			dir := t.TempDir()
			o := &Options{SegmentSize: minSegmentSize, Sync: policy}
			o.Compaction.GarbageRatio = 0.05
			inject.Into(o, &inject.Seams{PageSlots: 8})
			s := open(t, dir, o)
			var b Batch
			for i := range bankAccounts {
				b.Put(account(i), []byte("1000"))
			}
			if err := s.Write(&b); err != nil {
				t.Fatal(err)
			}
			bank(t, s, rounds)
			wantNothingHeld(t, s)
			if s.txs.conflicts.Open() {
				t.Error("a transaction has not ended")
			}
			closeStore(t, s)
			s = open(t, dir, o)
			for way := range 6 {
				if sum, err := total(s, way); err != nil || sum != bankTotal {
					t.Errorf("after the next Open: %d, %v", sum, err)
				}
			}
		})
	}
}

// bank runs all sides of the bank.
func bank(t *testing.T, s *Store, rounds int) {
	ctx, cancel := context.WithCancel(context.Background())
	var compacting, group sync.WaitGroup
	compacting.Go(func() {
		for ctx.Err() == nil {
			if err := s.Compact(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
				return
			}
		}
	})
	run := func(do func(rng *rand.Rand, round int) error, seed uint64) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for round := range rounds {
				if err := do(rng, round); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for seed := range uint64(3) {
		run(func(rng *rand.Rand, _ int) error {
			return s.Update(ctx, func(tx *Tx) error { return transfer(tx, rng) })
		}, seed)
	}
	run(func(rng *rand.Rand, _ int) error { // without Update, and with other writes beside
		tx, err := s.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := transfer(tx, rng); err != nil {
			return err
		}
		if rng.IntN(4) == 0 {
			return nil
		}
		if err := tx.Commit(); err != nil && err != ErrConflict {
			return err
		}
		return s.Put(fmt.Append(nil, "other", rng.IntN(50)), make([]byte, 100))
	}, 10)
	run(func(_ *rand.Rand, round int) error { return audit(s, round%2, round) }, 11)
	run(func(_ *rand.Rand, round int) error {
		n, err := s.Snapshot()
		if err != nil {
			return err
		}
		defer n.Close()
		for way := round; way < round+3; way++ {
			if sum, err := total(n, way); err != nil || sum != bankTotal {
				return fmt.Errorf("a snapshot sees %d, %w", sum, err)
			}
		}
		if sum, err := total(s, 3*round); err != nil || sum != bankTotal {
			return fmt.Errorf("a scan sees %d, %w", sum, err)
		}
		return nil
	}, 12)
	group.Wait()
	cancel()
	compacting.Wait()
}
