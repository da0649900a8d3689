package mmapkv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// counted reads a counter.
func counted(t testing.TB, r Reader, key string) uint64 {
	t.Helper()
	value, err := r.Get([]byte(key))
	if err == ErrNotFound {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(value)
}

// add adds to a counter in a transaction.
func add(tx *Tx, key string, n uint64) error {
	value, err := tx.Get([]byte(key))
	if err == ErrNotFound {
		value, err = make([]byte, 8), nil
	}
	if err != nil {
		return err
	}
	return tx.Put([]byte(key), binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(value)+n))
}

func TestUpdateRunsAgainAfterAConflict(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	runs := 0
	err := s.Update(context.Background(), func(tx *Tx) error {
		if runs++; runs > 10 {
			t.Fatal("too often")
		}
		if err := add(tx, "n", 1); err != nil {
			return err
		}
		if runs < 6 {
			put(t, s, "n", "plain wr")
		}
		return nil
	})
	if err != nil || runs != 6 {
		t.Errorf("%v after %d runs", err, runs)
	}
	if got := counted(t, s, "n"); got != binary.LittleEndian.Uint64([]byte("plain wr"))+1 {
		t.Errorf("%#x", got)
	}
}

// TestUpdateEndsWithItsContext: an Update that conflicts each time, since its function writes through the
// store, returns the context's error.
func TestUpdateEndsWithItsContext(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	ctx, cancel := context.WithCancel(context.Background())
	runs := 0
	err := s.Update(ctx, func(tx *Tx) error {
		if runs++; runs == 20 {
			cancel()
		}
		put(t, s, "n", "12345678")
		return errors.Join(add(tx, "n", 1), s.Put([]byte("n"), make([]byte, 8)))
	})
	if err != context.Canceled || runs != 20 {
		t.Errorf("%v after %d runs", err, runs)
	}
	err = s.Update(ctx, func(tx *Tx) error { t.Error("run in a context that has ended"); return nil })
	if err != context.Canceled {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	err = s.Update(ctx, func(tx *Tx) error { cancel(); return tx.Put([]byte("x"), nil) })
	if err != context.Canceled {
		t.Error(err)
	}
	wantAbsent(t, s, "x")
	late, stop := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer stop()
	err = s.Update(late, func(tx *Tx) error {
		return errors.Join(add(tx, "n", 1), s.Put([]byte("n"), make([]byte, 8)))
	})
	if err != context.DeadlineExceeded {
		t.Error(err)
	}
}

// TestUpdateRollsBack: after an error, a panic and a Goexit nothing is written, and nothing is left open.
func TestUpdateRollsBack(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "n", "12345678")
	var kept *Tx
	own := errors.New("own")
	update := func(end func() error) error {
		return s.Update(context.Background(), func(tx *Tx) error {
			kept = tx
			if err := errors.Join(add(tx, "n", 1), tx.Put([]byte("x"), nil)); err != nil {
				return err
			}
			return end()
		})
	}
	if err := update(func() error { return own }); err != own {
		t.Error(err)
	}
	func() {
		defer func() {
			if r := recover(); r != "panic" {
				t.Error(r)
			}
		}()
		update(func() error { panic("panic") })
	}()
	var group sync.WaitGroup
	group.Go(func() { update(func() error { runtime.Goexit(); return nil }) })
	group.Wait()
	if err := update(func() error { return kept.Commit() }); err != ErrDone {
		t.Errorf("a function that commits: %v", err)
	}
	wantValue(t, s, "n", "22345678") // that did commit
	if err := update(func() error { kept.Rollback(); return nil }); err != ErrDone {
		t.Errorf("a function that rolls back: %v", err)
	}
	if _, err := kept.Get([]byte("n")); err != ErrDone {
		t.Errorf("a transaction that has ended: %v", err)
	}
	wantValue(t, s, "n", "22345678")
	if s.txs.conflicts.Open() {
		t.Error("a transaction has not ended")
	}
	wantNothingHeld(t, s)
}

func TestUpdateOfClosedStore(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	err := s.Update(context.Background(), func(tx *Tx) error {
		closeStore(t, s)
		return tx.Put(nil, nil)
	})
	if err != ErrClosed {
		t.Error(err)
	}
	if err := s.Update(context.Background(), func(tx *Tx) error { return nil }); err != ErrClosed {
		t.Error(err)
	}
}

// TestUpdateWithinUpdate: an Update within another one's function is a transaction of its own. It may
// make the outer one conflict, and neither waits for the other for long.
func TestUpdateWithinUpdate(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	ctx := context.Background()
	inner := 0
	err := s.Update(ctx, func(tx *Tx) error {
		if err := add(tx, "n", 1); err != nil {
			return err
		}
		if inner++; inner > 8 {
			return nil
		}
		return s.Update(ctx, func(tx *Tx) error { return add(tx, "n", 100) })
	})
	if got := counted(t, s, "n"); err != nil || got != 801 {
		t.Errorf("%d, %v", got, err)
	}
}

// TestLongUpdateAmongShortOnes: a transaction that reads much and is slow comes to its end although short
// ones write what it reads all the time.
func TestLongUpdateAmongShortOnes(t *testing.T) {
	s := open(t, t.TempDir(), &Options{Sync: fsync.Never})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	short := make([]int, 4)
	for i := range short {
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				err := s.Update(ctx, func(tx *Tx) error { return add(tx, fmt.Sprint("key", n%100), 1) })
				if err == nil {
					short[i]++
				} else if err != context.Canceled {
					t.Error(err)
				}
			}
		})
	}
	waited, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	runs, sum := 0, uint64(0)
	err := s.Update(waited, func(tx *Tx) error {
		runs, sum = runs+1, 0
		for i := range 100 {
			sum += counted(t, tx, fmt.Sprint("key", i))
			if i%10 == 0 {
				time.Sleep(time.Millisecond) // it is slow, whatever the others do
			}
		}
		return tx.Put([]byte("sum"), binary.LittleEndian.AppendUint64(nil, sum))
	})
	cancel()
	group.Wait()
	if err != nil {
		t.Errorf("%v after %d runs", err, runs)
	}
	t.Logf("%d runs beside %v", runs, short)
	if got := counted(t, s, "sum"); got != sum {
		t.Errorf("sum %d, want %d", got, sum)
	}
}

// TestTurnIsBounded: whoever has the turn and does not end holds up the others for a bounded time.
func TestTurnIsBounded(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	ctx := context.Background()
	own := s.txs.turns.take(ctx, s.stop)
	if own == nil || s.txs.turns.current.Load() != own {
		t.Fatal("the turn was not free")
	}
	began, done := time.Now(), make(chan error, 1)
	go func() { done <- s.Update(ctx, func(tx *Tx) error { return add(tx, "n", 1) }) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(100 * turnTime):
		t.Fatal("a commit waits without end") // closing the store ends it
	}
	if waited := time.Since(began); waited < turnTime/2 {
		t.Errorf("a commit waited only %v", waited)
	}
	put(t, s, "plain", "write")
	if other := s.txs.turns.take(ctx, s.stop); other != nil {
		t.Error("two have the turn")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if other := s.txs.turns.take(ended, s.stop); other != nil {
		t.Error("two have the turn")
	}
	s.txs.turns.end(own)
	again := s.txs.turns.take(ctx, s.stop)
	if again == nil || again.isOver() {
		t.Fatal("the turn is not free again")
	}
	tx := begin(t, s)
	txPut(t, tx, "own", "turn")
	if err := tx.commit(again); err != nil {
		t.Error(err)
	}
	s.txs.turns.end(again)
}

// TestLanesAreLeft: a lane is taken by one Update at a time, only while it is hot, and left however the
// transaction ends.
func TestLanesAreLeft(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	ctx := context.Background()
	hash := s.hasher.Hash([]byte("n"))
	in := func(fn func(tx *Tx) error) {
		defer func() { recover() }()
		s.Update(ctx, func(tx *Tx) error { add(tx, "n", 1); return fn(tx) })
	}
	in(func(tx *Tx) error {
		if tx.lane != nil {
			t.Error("a cold lane was taken")
		}
		return nil
	})
	s.txs.lanes.conflict(hash)
	for _, fn := range []func(tx *Tx) error{
		func(*Tx) error { return nil }, func(*Tx) error { panic("panic") }, func(*Tx) error { return ErrConflict },
		func(tx *Tx) error { tx.Rollback(); return nil },
	} {
		in(func(tx *Tx) error {
			if tx.lane != s.txs.lanes.of(hash) {
				t.Error("a hot lane was not taken")
			}
			if s.txs.lanes.of(hash).heat.Load() <= 0 {
				t.Error("a lane is cold after few Updates")
			}
			return fn(tx)
		})
		if len(s.txs.lanes.of(hash).token) != 1 {
			t.Fatal("the lane was not left")
		}
	}
	for range 2 * laneHeat {
		in(func(*Tx) error { return nil })
	}
	in(func(tx *Tx) error {
		if tx.lane != nil {
			t.Error("the lane stays hot without conflicts")
		}
		return nil
	})
}

// TestEightUpdatesOfOneKey: nothing is lost, and everybody gets a share.
func TestEightUpdatesOfOneKey(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Never, fsync.Always} {
		s := open(t, t.TempDir(), &Options{Sync: policy, SegmentSize: minSegmentSize})
		var group sync.WaitGroup
		const each = 200
		for range 8 {
			group.Go(func() {
				for range each {
					if err := s.Update(context.Background(), func(tx *Tx) error { return add(tx, "n", 1) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		if got := counted(t, s, "n"); got != 8*each {
			t.Errorf("%v: %d, want %d", policy, got, 8*each)
		}
	}
}

// TestLargeReadSetIsCheckedAhead: a transaction that has read many keys commits beside a writer of other
// keys, whose puts it hardly holds up.
func TestLargeReadSetIsCheckedAhead(t *testing.T) {
	const keys = 20_000
	s := open(t, t.TempDir(), &Options{Sync: fsync.Never})
	fill(t, s, 0, keys, 10)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			put(t, s, fmt.Sprint("other", i), "value")
		}
	})
	defer group.Wait()
	defer cancel()
	for round := range 3 {
		tx := begin(t, s)
		for i := range keys {
			key, _ := numbered(i, 0)
			if round == 2 {
				key = fmt.Append(key, "absent")
			}
			if has, err := tx.Has(key); has != (round != 2) || err != nil {
				t.Fatal(has, err)
			}
		}
		if round == 1 {
			if err := tx.Scan(ScanOptions{Prefix: []byte("key")}, func(_, _ []byte) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		txPut(t, tx, "read", fmt.Sprint(round))
		wantCommit(t, tx, nil)
	}
}
