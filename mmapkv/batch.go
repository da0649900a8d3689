package mmapkv

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/segment"
)

// Batch collects writes that Store.Write makes all or nothing. The zero value
// is ready. It copies its arguments. A Batch is not safe for concurrent use, and
// is not to be changed while a Write of it runs; it may be written again, and
// reused after Reset.
type Batch struct {
	draft segment.Draft
	ttls  []entryTTL
	err   error // the first entry over the limits
}

// entryTTL is the time to live of one entry. When it starts to run is known
// only to the store, when the batch is written.
type entryTTL struct {
	entry int
	ttl   time.Duration
}

// Put adds a pair. A key or value over the limits makes Write return ErrTooLarge.
func (b *Batch) Put(key, value []byte) {
	if b.admit(key, value) {
		b.draft.Put(key, value, 0)
	}
}

// PutWithTTL adds a pair that expires ttl after the batch is written. A ttl that
// is not positive makes Write return ErrInvalid.
func (b *Batch) PutWithTTL(key, value []byte, ttl time.Duration) {
	if err := checkTTL(ttl); err != nil && b.err == nil {
		b.err = err
	}
	if b.admit(key, value) {
		b.ttls = append(b.ttls, entryTTL{b.draft.Len(), ttl})
		b.draft.Put(key, value, placeholderExpiry)
	}
}

// placeholderExpiry makes room for an expiry that is set when the batch is written.
const placeholderExpiry = 1

// Delete adds the removal of a key; an absent one is no error.
func (b *Batch) Delete(key []byte) {
	if b.admit(key, nil) {
		b.draft.Delete(key)
	}
}

// Len is the number of entries.
func (b *Batch) Len() int { return b.draft.Len() }

// Reset empties the batch for reuse.
func (b *Batch) Reset() {
	b.draft.Reset()
	b.ttls = b.ttls[:0]
	b.err = nil
}

// admit says whether an entry may be added, and remembers why not.
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

func checkSizes(key, value []byte) error {
	if len(key) > MaxKeySize {
		return fmt.Errorf("%w: the key has %d bytes, the limit is %d", ErrTooLarge, len(key), MaxKeySize)
	}
	if uint64(len(value)) > MaxValueSize {
		return fmt.Errorf("%w: the value has %d bytes, the limit is %d", ErrTooLarge, len(value), uint64(MaxValueSize))
	}
	return nil
}

func checkTTL(ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: a time to live of %v; it must be positive", ErrInvalid, ttl)
	}
	return nil
}
