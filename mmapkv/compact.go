package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// Compact rewrites every segment with garbage worth reclaiming, and returns when that is done. If
// the segment being written holds garbage, Compact includes it. One compaction runs at a time:
// Compact waits for a running one.
//
// When the context ends, Compact stops at the next opportunity, with nothing lost, and returns
// the context's error. Sealing a segment and a sync cannot be interrupted, and may continue for a
// moment longer. Compact returns ErrClosed if the store is closed before it is done, and
// ErrReadOnly if the store is read-only. It first waits until the index is full, see Ready.
//
// An error that wraps ErrCorrupt means that a segment could not be rewritten because it is
// damaged. All others have been rewritten even so.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	ctx, done := pace.OwnContext(ctx)
	defer done()
	if err := s.awaitIndex(ctx.Done()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer lookAtSnapshots(s)
	return s.compactor.All(ctx)
}

// unlessEnded calls do, which waits for the disk or for others. It returns when do is done, or
// when the context ends. Only a Compact has such a context: do then runs in a goroutine of its own
// and continues until it checks the context, and Close waits for it as for a write. For the
// background and for a delete on a full disk do runs here, and Close waits for these.
func (s *Store) unlessEnded(ctx context.Context, do func() error) error {
	if ctx.Done() == nil || s.manual() {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		err := s.beginWrite()
		if err == nil {
			defer s.endWrite()
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
