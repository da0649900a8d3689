package mmapkv

import (
	"context"
	"sync/atomic"
	"time"
)

// turns say whose turn it is to commit, if transactions keep conflicting. What must hold:
//
//   - One Update at a time has the turn. The commits of other transactions wait until it gives it back,
//     but no longer than the turn lasts. So nobody waits for ever, not even for itself: for a
//     transaction within the function of an Update that has the turn.
//   - Plain writes do not wait, and take no look.
//   - While nobody has the turn, a commit pays one atomic load.
type turns struct {
	token   chan struct{} // holds one, unless an Update has the turn
	current atomic.Pointer[turn]
}

// turn is the turn of one Update.
type turn struct {
	end   chan struct{} // closed when it is given back
	until time.Time     // nobody waits for it any longer
}

// turnTime is how long a turn lasts at most.
const turnTime = 100 * time.Millisecond

func newTurns() *turns {
	t := &turns{token: make(chan struct{}, 1)}
	t.token <- struct{}{}
	return t
}

// take takes the turn. It waits for it as long as a turn lasts, until the context ends or stop is closed,
// and then returns nil.
func (t *turns) take(ctx context.Context, stop <-chan struct{}) *turn {
	select {
	case <-t.token:
	default:
		timer := time.NewTimer(turnTime)
		defer timer.Stop()
		select {
		case <-t.token:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		case <-stop:
			return nil
		}
	}
	own := &turn{end: make(chan struct{}), until: time.Now().Add(turnTime)}
	t.current.Store(own)
	return own
}

// end gives a turn back; nil is none.
func (t *turns) end(own *turn) {
	if own == nil {
		return
	}
	t.current.Store(nil)
	close(own.end)
	t.token <- struct{}{}
}

// isOver reports whether nobody waits for the turn any longer.
func (own *turn) isOver() bool { return !time.Now().Before(own.until) }

// await waits while it is the turn of somebody else than own, or until stop is closed.
func (t *turns) await(own *turn, stop <-chan struct{}) {
	other := t.current.Load()
	if other == nil || other == own || other.isOver() {
		return
	}
	timer := time.NewTimer(time.Until(other.until))
	defer timer.Stop()
	select {
	case <-other.end:
	case <-timer.C:
	case <-stop:
	}
}
