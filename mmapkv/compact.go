package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// Compact rewrites everything that holds garbage worth reclaiming, beginning with
// the segment being written if it holds any, and returns when that is done. It
// stops at the next convenience, with nothing lost, when the context ends, and
// returns the context's error, though what cannot be given up in its middle, the sealing
// of a segment and a sync, may take a moment longer; ErrClosed when the store is closed meanwhile,
// ErrReadOnly when it is open for reading only. One compaction runs at a time:
// Compact waits for one that runs.
//
// An error that wraps ErrCorrupt says that a segment could not be rewritten since
// it is damaged; the others are all the same.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	ctx, done := pace.OwnContext(ctx)
	defer done()
	return s.compactor.All(ctx)
}

// unlessEnded does something that waits for the disk or for others, and returns when
// that is done, or when the context ends. What cannot be given up half done goes on then,
// up to where it looks at the context, and Close waits for it as for a write.
func (s *Store) unlessEnded(ctx context.Context, do func() error) error {
	if ctx.Done() == nil || s.manual() {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		err := s.enter()
		if err == nil {
			defer s.leave()
			err = do()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beingWritten says that writes are in flight.
func (s *Store) beingWritten() bool { return s.writing.Load() > 0 }

// manual says that a test takes the background's steps.
func (s *Store) manual() bool { return s.options.seams != nil && s.options.seams.Manual }
