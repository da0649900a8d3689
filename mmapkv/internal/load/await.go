package load

import (
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
)

// IsDone reports whether the index is full.
func (l *Loading) IsDone() bool { return isClosed(l.done) }

func (l *Loading) halted() bool { return isClosed(l.halt) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Done is closed once the index is full.
func (l *Loading) Done() <-chan struct{} { return l.done }

// Found is what loading has found and done so far.
func (l *Loading) Found() Found {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found
}

// Ready waits until the index is full. It returns why something cannot be loaded once an attempt has
// failed, failure.ErrClosed after Halt, and nil when ended is closed: then ask IsDone.
func (l *Loading) Ready(ended <-chan struct{}) error {
	l.Begin()
	if l.OneWorker {
		return l.finishByHand()
	}
	l.mu.Lock()
	over := l.over
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default: // there is a token already
	}
	select {
	case <-l.done:
	case <-ended:
	case <-l.halt:
		return failure.ErrClosed
	case <-over:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.err
	}
	return nil
}

// Wait waits until the index is full, however many attempts that takes. It reports false after Halt.
func (l *Loading) Wait() bool {
	l.Begin()
	if l.OneWorker {
		return l.finishByHand() == nil
	}
	select {
	case <-l.done:
		return true
	case <-l.halt:
		return false
	}
}

// finishByHand is Finish for who waits while a test loads.
func (l *Loading) finishByHand() error {
	if l.halted() && !l.IsDone() {
		return failure.ErrClosed
	}
	return l.Finish()
}

// Halt ends loading. Whoever waits goes on. It may be called again.
func (l *Loading) Halt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.halted() {
		close(l.halt)
	}
	l.changed.Broadcast()
}

// Close halts loading, waits for the workers, and closes what is open. No file may be retired before.
func (l *Loading) Close() {
	l.Halt()
	l.working.Wait()
	for _, from := range l.sources {
		from.close()
	}
	l.tables.close(l.sources)
	l.mu.Lock()
	settled := l.complete
	l.mu.Unlock()
	if !settled {
		l.dropRecovered()
	}
}
