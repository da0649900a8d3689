package mmapkv

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/segment"
)

// Put sets the key's value when the transaction commits. The transaction itself sees it at once.
// Both slices may be reused when Put returns. The limits are those of a Batch: beyond them Put returns
// ErrTooLarge, and the transaction cannot commit.
func (tx *Tx) Put(key, value []byte) error { return tx.put(key, value, 0, false) }

// PutWithTTL is Put of a value that expires ttl after the transaction commits. It returns ErrInvalid if
// ttl is not positive. For the transaction itself the value does not expire.
func (tx *Tx) PutWithTTL(key, value []byte, ttl time.Duration) error {
	if err := tx.ended(); err != nil {
		return err
	}
	if err := checkTTL(ttl); err != nil {
		return tx.fail(err)
	}
	return tx.put(key, value, ttl, false)
}

// Delete removes the key's value when the transaction commits. It is no error if the key has none.
func (tx *Tx) Delete(key []byte) error { return tx.put(key, nil, 0, true) }

// DeleteRange deletes every key with from <= key < to that the transaction sees; nil means no bound, and
// an empty bound that is not nil is the empty key. The range counts as read: if another key appears in it
// before the transaction commits, that is a conflict. Each key that is deleted is one write of the
// transaction, so the limits of a Batch hold for all of them together. For more, see Store.DeleteRange.
func (tx *Tx) DeleteRange(from, to []byte) error {
	return tx.scan(&ScanOptions{From: from, To: to, KeysOnly: true}, true, func(key, _ []byte) error {
		return tx.Delete(key)
	})
}

// put notes a write.
func (tx *Tx) put(key, value []byte, ttl time.Duration, deleted bool) error {
	if err := tx.ended(); err != nil {
		return err
	}
	if tx.store.options.ReadOnly {
		return tx.fail(ErrReadOnly)
	}
	if err := checkSizes(key, value); err != nil {
		return tx.fail(err)
	}
	w := newOwnWrite(key, value, ttl, deleted)
	if size := tx.own.size + w.size() + segment.HeaderSize; size > tx.limits.own {
		return tx.fail(fmt.Errorf("%w: the transaction would write %d bytes, the limit is %d", ErrTooLarge, size, tx.limits.own))
	}
	tx.own.put(w)
	return nil
}
