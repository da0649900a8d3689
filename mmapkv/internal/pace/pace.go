package pace

import (
	"context"
	"time"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
)

// LookBytes is how much work is done between two looks at the clock.
const LookBytes = 16 << 10

// Pacer makes compaction step aside, keep to its byte budget, and end when it is told
// to. Sealing and checks step aside by it too.
type Pacer struct {
	Ctx    context.Context
	Stop   <-chan struct{}
	Napper *nap.Napper // nil: never step aside
	Hurry  func() bool // somebody waits for this: do not step aside
	Busy   func() bool // there is a foreground to step aside for
	Budget int64       // bytes a second, 0 for any number

	Lift <-chan struct{} // a token takes the budget away; nil: none comes

	Began   time.Time
	done    int64 // bytes since began
	Looked  int64 // bytes since the last look at the clock
	Patient bool  // past the point where the work could be given up
}

// OwnContext makes a context that ends with the user's, and whose methods are the
// standard library's: they may be called under a lock. done is called when none is
// held any more.
func OwnContext(users context.Context) (ctx context.Context, done func()) {
	rank.AssertNone("a method of a context")
	ctx, cancel := context.WithCancel(users)
	return ctx, func() {
		rank.AssertNone("a method of a context")
		cancel()
	}
}

// Work is called for every so many bytes of work; an error means to give up.
func (p *Pacer) Work(bytes int64) error {
	p.done += bytes
	if p.Looked += bytes; p.Looked < LookBytes {
		return nil
	}
	p.Looked = 0
	if !p.Patient {
		if err := p.Cancelled(); err != nil {
			return err
		}
	}
	p.Pause()
	return p.KeepBudget()
}

// Cancelled says why the work is to be given up.
func (p *Pacer) Cancelled() error {
	select {
	case <-p.Stop:
		return failure.ErrClosed
	case <-p.Ctx.Done():
		return p.Ctx.Err()
	default:
		return nil
	}
}

// Pause steps aside if it is time.
func (p *Pacer) Pause() {
	if p.Napper != nil && !p.Hurry() {
		p.Napper.StepAside(p.Busy())
	}
}

// KeepBudget waits until the bytes done are within the budget.
func (p *Pacer) KeepBudget() error {
	if p.Budget == 0 || p.Napper == nil || p.Patient {
		return nil
	}
	due := p.Began.Add(time.Duration(float64(p.done) / float64(p.Budget) * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.Lift:
		p.Budget = 0
		return nil
	case <-p.Stop:
		return failure.ErrClosed
	case <-p.Ctx.Done():
		return p.Ctx.Err()
	}
}

// Rest steps aside if it is time, in work on bytes that work was called for when
// they were read.
func (p *Pacer) Rest(bytes int64) {
	if p.Looked += bytes; p.Looked >= LookBytes {
		p.Looked = 0
		p.Pause()
	}
}
