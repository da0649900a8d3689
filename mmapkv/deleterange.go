package mmapkv

import (
	"context"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// A batch of DeleteRange has at most this many keys, and this many bytes of them, so that it takes
// little memory and delays no other writer.
const (
	deleteRangeKeys  = 1000
	deleteRangeBytes = 64 << 10
)

// DeleteRange removes the keys with from <= key < to. nil is no bound; a bound that is empty but
// not nil is the empty key, as in ScanOptions.
//
// DeleteRange is not atomic. It finds the keys in order and removes them in batches, and takes
// little memory however many there are. A key that had a value when DeleteRange began, and is not
// written meanwhile, is gone afterwards. A key that is written meanwhile may be removed or stay.
// No key outside the bounds is touched. After an error, some of the keys are gone. If ctx ends,
// DeleteRange returns its error.
//
// Like Delete it works on a full disk.
func (s *Store) DeleteRange(ctx context.Context, from, to []byte) error {
	ctx, done := pace.OwnContext(ctx)
	defer done()
	o := ScanOptions{From: from, To: to, KeysOnly: true}
	var b Batch
	for {
		if err := s.writable(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next, err := collectDeletes(s, &b, &o)
		if err != nil || b.Len() == 0 {
			return err
		}
		if err := writeDeletes(ctx, s, &b); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		o.From = next // what lies before it, records or what is left of them, is not looked at again
	}
}

// collectDeletes makes a batch of deletes of the first keys that the options name. next is where
// the keys behind them begin; nil if there are none. It copies what it keeps.
func collectDeletes(s *Store, b *Batch, o *ScanOptions) (next []byte, err error) {
	b.Reset()
	err = s.Scan(*o, func(key, _ []byte) error {
		if b.Len() == deleteRangeKeys || b.draft.Size() >= deleteRangeBytes {
			next = clone(key)
			return fs.SkipAll
		}
		b.Delete(key)
		return b.err
	})
	return next, err
}

// writeDeletes writes a batch of deletes. If there is no room for it, it makes them one by one:
// each then finds room as Delete does.
func writeDeletes(ctx context.Context, s *Store, b *Batch) error {
	err := s.Write(b)
	if !errno.OutOfSpace(err) {
		return err
	}
	for i := range b.draft.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.Delete(b.draft.Key(i)); err != nil {
			return err
		}
	}
	return nil
}
