package mmapkv

import (
	"context"
	"math/rand/v2"
	"reflect"
	"runtime"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Update runs fn in a transaction, and commits it when fn returns nil. If something that fn has read
// has changed meanwhile, Update runs fn again, in a new transaction, until the context ends: then it
// returns the context's error. If fn returns an error, Update rolls back and returns that, and if fn
// panics or ends its goroutine, Update rolls back. So fn may run any number of times, and should change
// nothing but through its Tx. It must not commit or roll back the Tx, or use it after it has returned.
//
//	err := store.Update(ctx, func(tx *mmapkv.Tx) error {
//		n, err := tx.Get(counter)
//		...
//		return tx.Put(counter, next)
//	})
//
// Between two attempts Update pauses, longer each time, and for a random time. After several conflicts
// it takes the turn: for some time the commits of other transactions then wait, so that a long
// transaction among short ones comes to its end. Plain writes do not wait. What fn writes through the
// Store is a plain write: if fn has read its key, it conflicts with fn's own transaction each time.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	var own *turn
	defer func() { s.txs.turns.end(own) }()
	for conflicts := 1; ; conflicts++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		conflict, err := attempt(ctx, s, fn, own)
		if !conflict {
			return err
		}
		if own != nil && own.isOver() {
			s.txs.turns.end(own)
			own = nil
		}
		switch {
		case own != nil:
		case conflicts >= conflictsBeforeTurn:
			pause(ctx, s.stop, conflicts-conflictsBeforeTurn)
			own = s.txs.turns.take(ctx, s.stop)
		default:
			runtime.Gosched()
		}
	}
}

const (
	// conflictsBeforeTurn is after how many conflicts Update takes the turn.
	conflictsBeforeTurn = 2
	// firstPause is the longest first pause. Each further one may be twice as long, up to longestPause.
	firstPause   = 20 * time.Microsecond
	longestPause = 20 * time.Millisecond
)

// attempt runs fn once. conflict says that the commit has found one.
func attempt(ctx context.Context, s *Store, fn func(tx *Tx) error, own *turn) (conflict bool, err error) {
	if s.closed.Load() {
		return false, ErrClosed
	}
	tx := newTx(s)
	tx.made[0] = reflect.ValueOf(fn).Pointer() + 1 // in fn, which Stats then names
	defer tx.end()
	tx.queues = own == nil // those in a lane may wait for the one who has the turn
	rank.AssertNone("Update")
	if err := fn(tx); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	err = tx.commit(own)
	if err == ErrConflict {
		if over := tx.judge.check.Over(); over != 0 {
			s.txs.lanes.conflict(over)
		}
	}
	return err == ErrConflict, err
}

// pause waits before another attempt, until the context or the store ends at most.
func pause(ctx context.Context, stop <-chan struct{}, already int) {
	if already == 0 {
		return
	}
	longest := min(firstPause<<min(already, 16), longestPause)
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-stop:
	}
}
