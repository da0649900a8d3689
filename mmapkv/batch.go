package mmapkv

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// Batch collects writes that Store.Write makes all or nothing. The zero value is ready to use. A
// Batch copies its arguments. It is not safe for concurrent use, and must not change while a
// Write of it runs. It may be written again, and reused after Reset.
type Batch struct {
	draft segment.Draft
	ttls  []entryTTL
	err   error // the first entry over a limit
}

// entryTTL is the time to live of one entry. It starts when the batch is written.
type entryTTL struct {
	entry int
	ttl   time.Duration
}

// Put adds a pair. If the key or value exceeds a limit, Write returns ErrTooLarge.
func (b *Batch) Put(key, value []byte) {
	if b.admit(key, value) {
		b.draft.Put(key, value, 0)
	}
}

// PutWithTTL adds a pair that expires ttl after the batch is written. If ttl is not positive,
// Write returns ErrInvalid.
func (b *Batch) PutWithTTL(key, value []byte, ttl time.Duration) {
	if err := checkTTL(ttl); err != nil && b.err == nil {
		b.err = err
	}
	if b.admit(key, value) {
		b.ttls = append(b.ttls, entryTTL{b.draft.Len(), ttl})
		b.draft.Put(key, value, placeholderExpiry)
	}
}

// placeholderExpiry reserves space for an expiry that is set when the batch is written.
const placeholderExpiry = 1

// Delete adds the removal of a key. It is no error if the key has no value.
func (b *Batch) Delete(key []byte) {
	if b.admit(key, nil) {
		b.draft.Delete(key)
	}
}

// Each calls put or del for each entry, in order, so that one batch can be written elsewhere too. ttl
// is what PutWithTTL was given, 0 for a Put. Both slices can be read until the batch changes, which
// it must not do while Each runs. An error of put or del ends Each and is returned. If Write would
// refuse the batch, Each returns why, and calls neither.
func (b *Batch) Each(put func(key, value []byte, ttl time.Duration) error, del func(key []byte) error) error {
	if b.err != nil {
		return b.err
	}
	rank.AssertNone("a callback of Batch.Each")
	ttls := b.ttls
	for i := range b.draft.Len() {
		key := b.draft.Key(i)
		key = key[:len(key):len(key)]
		var err error
		if b.draft.IsDelete(i) {
			err = del(key)
		} else {
			var ttl time.Duration
			if len(ttls) > 0 && ttls[0].entry == i {
				ttl, ttls = ttls[0].ttl, ttls[1:]
			}
			err = put(key, b.draft.Value(i), ttl)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Len returns the number of entries.
func (b *Batch) Len() int { return b.draft.Len() }

// Reset empties the batch for reuse.
func (b *Batch) Reset() {
	b.draft.Reset()
	b.ttls = b.ttls[:0]
	b.err = nil
}

// admit reports whether an entry may be added. If not, it notes why.
func (b *Batch) admit(key, value []byte) bool {
	if b.err != nil {
		return false
	}
	if b.err = checkSizes(key, value); b.err != nil {
		return false
	}
	size := b.draft.Size() + segment.HeaderSize + segment.RecordSize(len(key), int64(len(value)), segment.Expires)
	if size > MaxBatchSize {
		b.err = fmt.Errorf("%w: the batch would take %d bytes, the limit is %d", ErrTooLarge, size, int64(MaxBatchSize))
	}
	return b.err == nil
}

// checkSizes returns ErrTooLarge for a key or value over the limits.
func checkSizes(key, value []byte) error {
	if len(key) > MaxKeySize {
		return fmt.Errorf("%w: the key has %d bytes, the limit is %d", ErrTooLarge, len(key), MaxKeySize)
	}
	if uint64(len(value)) > MaxValueSize {
		return fmt.Errorf("%w: the value has %d bytes, the limit is %d", ErrTooLarge, len(value), uint64(MaxValueSize))
	}
	return nil
}

// checkTTL returns ErrInvalid for a time to live that is not positive.
func checkTTL(ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: a time to live of %v; it must be positive", ErrInvalid, ttl)
	}
	return nil
}
