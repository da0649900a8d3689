package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// keepView is the goroutine that makes views of a store that is scanned. Close stops it.
func keepView(s *Store) {
	p, done := s.newQuietPacer(context.Background(), 0)
	defer done()
	s.order.KeepView(s.stop, pauseOf(p))
}

// stepView makes a view if one is due, for a test that does it in place of the goroutine.
func stepView(s *Store) (bool, error) {
	p, done := s.newQuietPacer(context.Background(), 0)
	defer done()
	return s.order.StepView(pauseOf(p))
}

// pauseOf steps aside for the foreground, and returns an error once the store is closed.
func pauseOf(p *pace.Pacer) func() error {
	return func() error {
		p.Pause()
		return p.Cancelled()
	}
}
