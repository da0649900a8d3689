package mmapkv

import (
	"context"
	"time"

	"github.com/mmapkv/mmapkv/internal/nap"
)

const (
	// slice is how long compaction works before it steps aside, and aside is for
	// how long. With three busy goroutines on two processors a reader would
	// otherwise wait for the runtime to preempt one of them, 10 ms. On a machine so
	// busy that stepping aside takes longer than that, it works as long as it was
	// kept waiting, up to longSlice, rather than hardly ever.
	slice     = 100 * time.Microsecond
	aside     = 20 * time.Microsecond
	longSlice = 2 * time.Millisecond

	// lookBytes is how much work is done between two looks at the clock.
	lookBytes = 16 << 10
)

// pacer makes compaction step aside, keep to its byte budget, and end when it is
// told to.
type pacer struct {
	ctx    context.Context
	stop   <-chan struct{}
	napper *nap.Napper // nil: never step aside
	hurry  func() bool // writers wait: do not step aside
	budget int64       // bytes a second, 0 for any number

	until   time.Time // when the slice ends
	began   time.Time
	done    int64 // bytes since began
	looked  int64 // bytes since the last look at the clock
	patient bool  // past the point where the work could be given up
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

// pause steps aside if the slice is over.
func (p *pacer) pause() {
	if p.napper == nil {
		return
	}
	now := time.Now()
	if now.Before(p.until) {
		return
	}
	var waited time.Duration
	if !p.hurry() {
		p.napper.Nap(aside)
		now, waited = time.Now(), time.Since(now)
	}
	p.until = now.Add(min(max(slice, waited), longSlice))
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
	case <-p.stop:
		return ErrClosed
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// rest steps aside, if it is time, in work on bytes that work was called for when
// they were read.
func (p *pacer) rest(bytes int64) {
	if p.looked += bytes; p.looked >= lookBytes {
		p.looked = 0
		p.pause()
	}
}
