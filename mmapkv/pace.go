package mmapkv

import (
	"context"
	"time"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// lookBytes is how much work is done between two looks at the clock.
const lookBytes = 16 << 10

// pacer makes compaction step aside, keep to its byte budget, and end when it is told
// to. Sealing and checks step aside by it too.
type pacer struct {
	ctx    context.Context
	stop   <-chan struct{}
	napper *nap.Napper // nil: never step aside
	hurry  func() bool // somebody waits for this: do not step aside
	busy   func() bool // there is a foreground to step aside for
	budget int64       // bytes a second, 0 for any number

	lift <-chan struct{} // a token takes the budget away; nil: none comes

	began   time.Time
	done    int64 // bytes since began
	looked  int64 // bytes since the last look at the clock
	patient bool  // past the point where the work could be given up
}

// ownContext makes a context that ends with the user's, and whose methods are the
// standard library's: they may be called under a lock. done is called when none is
// held any more.
func ownContext(users context.Context) (ctx context.Context, done func()) {
	rank.AssertNone("a method of a context")
	ctx, cancel := context.WithCancel(users)
	return ctx, func() {
		rank.AssertNone("a method of a context")
		cancel()
	}
}

// work is called for every so many bytes of work; an error means to give up.
func (p *pacer) work(bytes int64) error {
	p.done += bytes
	if p.looked += bytes; p.looked < lookBytes {
		return nil
	}
	p.looked = 0
	if !p.patient {
		if err := p.cancelled(); err != nil {
			return err
		}
	}
	p.pause()
	return p.keepBudget()
}

// cancelled says why the work is to be given up.
func (p *pacer) cancelled() error {
	select {
	case <-p.stop:
		return ErrClosed
	case <-p.ctx.Done():
		return p.ctx.Err()
	default:
		return nil
	}
}

// pause steps aside if it is time.
func (p *pacer) pause() {
	if p.napper != nil && !p.hurry() {
		p.napper.StepAside(p.busy())
	}
}

// keepBudget waits until the bytes done are within the budget.
func (p *pacer) keepBudget() error {
	if p.budget == 0 || p.napper == nil || p.patient {
		return nil
	}
	due := p.began.Add(time.Duration(float64(p.done) / float64(p.budget) * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.lift:
		p.budget = 0
		return nil
	case <-p.stop:
		return ErrClosed
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// rest steps aside if it is time, in work on bytes that work was called for when
// they were read.
func (p *pacer) rest(bytes int64) {
	if p.looked += bytes; p.looked >= lookBytes {
		p.looked = 0
		p.pause()
	}
}
