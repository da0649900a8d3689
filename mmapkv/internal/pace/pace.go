// Package pace makes background work step aside for the foreground, keep to a byte budget, and end
// when it is told to.
//
// What must hold:
//
//   - Work that nobody waits for steps aside. Work that writers or Close wait for does not.
//   - Work ends soon after its context ends or the store is closed, unless it is past the point
//     where it can be given up.
//   - The user's context is never called under a lock.
package pace

import (
	"context"
	"time"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
)

// LookBytes is the number of bytes of work between two looks at the clock.
const LookBytes = 16 << 10

// Pacer paces one piece of background work: a compaction, a check or a sealing. One goroutine at a
// time uses it. Work that only calls Pause or Rest needs no more than Napper, Hurry and Busy.
type Pacer struct {
	Ctx  context.Context // ends the work
	Stop <-chan struct{} // closed to end the work with failure.ErrClosed

	Napper *nap.Napper // nil: neither step aside nor keep to the budget
	Hurry  func() bool // reports whether somebody waits for the work: do not step aside
	Busy   func() bool // reports whether there is foreground work to step aside for

	Budget int64           // bytes per second; 0: unlimited
	Lift   <-chan struct{} // a token removes the budget; nil: none comes
	Began  time.Time       // when the work began, for the budget

	Committed bool  // the work is past the point where it can be given up
	Looked    int64 // bytes since the last look at the clock
	done      int64 // bytes since Began
}

// OwnContext returns a context that ends when the user's does. Its methods are the standard
// library's, so they may be called under a lock. The caller calls done once it holds no lock.
func OwnContext(users context.Context) (ctx context.Context, done func()) {
	rank.AssertNone("a method of a context")
	ctx, cancel := context.WithCancel(users)
	return ctx, func() {
		rank.AssertNone("a method of a context")
		cancel()
	}
}

// Work counts bytes of work. Every LookBytes it steps aside if it is time, and waits for the
// budget. An error means that the work must be given up.
func (p *Pacer) Work(bytes int64) error {
	p.done += bytes
	if p.Looked += bytes; p.Looked < LookBytes {
		return nil
	}
	p.Looked = 0
	if !p.Committed {
		if err := p.Cancelled(); err != nil {
			return err
		}
	}
	p.Pause()
	return p.KeepBudget()
}

// Cancelled returns why the work must be given up, nil if it need not be: failure.ErrClosed or the
// error of Ctx. It ignores Committed.
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

// KeepBudget waits until the bytes counted by Work are within the budget. An error means that the
// work must be given up.
func (p *Pacer) KeepBudget() error {
	if p.Budget == 0 || p.Napper == nil || p.Committed {
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

// Rest steps aside if it is time. It is for further work on bytes that Work has counted, such as
// when they were read.
func (p *Pacer) Rest(bytes int64) {
	if p.Looked += bytes; p.Looked >= LookBytes {
		p.Looked = 0
		p.Pause()
	}
}
