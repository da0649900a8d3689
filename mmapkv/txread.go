package mmapkv

import (
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// What a transaction reads it notes before it reads, so that a callback which panics takes nothing
// back. Its own writes it reads without a note: they are true whatever others write.

// Get returns a copy of the key's value, as Store.Get does.
func (tx *Tx) Get(key []byte) ([]byte, error) { return tx.appendGet([]byte{}, key, true) }

// AppendGet appends the key's value to dst, as Store.AppendGet does.
func (tx *Tx) AppendGet(dst, key []byte) ([]byte, error) { return tx.appendGet(dst, key, true) }

// View calls fn with the key's value, as Store.View does. fn may call methods of the transaction.
func (tx *Tx) View(key []byte, fn func(value []byte) error) error { return tx.view(key, true, fn) }

// GetMany is View for many keys, as Store.GetMany is.
func (tx *Tx) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	return tx.getMany(keys, true, fn)
}

// Has reports whether the key has a value.
func (tx *Tx) Has(key []byte) (bool, error) { return tx.has(key, true) }

// Size returns the size of the key's value in bytes, as Store.Size does.
func (tx *Tx) Size(key []byte) (int64, error) { return tx.size(key, true) }

// TTL returns how long the key had still to live when the transaction began, as Snapshot.TTL does. Of
// a value that the transaction itself has written, that is what it was given.
func (tx *Tx) TTL(key []byte) (ttl time.Duration, ok bool, err error) { return tx.ttl(key, true) }

// Untracked returns a Reader of what the transaction reads, with its own writes. What is read through
// it causes no conflict: it may have changed when the transaction commits. It ends with the transaction.
// (To read through the Store instead shows what others have written since.)
func (tx *Tx) Untracked() Reader { return untracked{tx} }

// lookup returns the transaction's own write of a key, or, for nil, notes that its snapshot is read.
func (tx *Tx) lookup(key []byte, tracked bool) (*ownWrite, error) {
	if err := tx.ended(); err != nil {
		return nil, err
	}
	if w := tx.own.get(key); w != nil {
		if w.deleted {
			return nil, ErrNotFound
		}
		return w, nil
	}
	hash := tx.store.hasher.Hash(key)
	if tx.snapshot.hold == nil {
		if lane := tx.store.txs.lanes.of(hash); tx.queues && tracked && lane.enter(tx.store.stop) {
			tx.lane = lane
		}
		if err := tx.usable(); err != nil {
			return nil, err
		}
	}
	if tracked {
		tx.reads.Key(hash)
		if tx.reads.Bytes() > tx.limits.tracked {
			return nil, tx.fail(tx.tooMuchRead())
		}
	}
	return nil, nil
}

// noteExpiry notes when a record that was read expires.
func (tx *Tx) noteExpiry(r *segment.Record) {
	if r.Flags&segment.Expires != 0 {
		h := tx.snapshot.hold
		h.earliest = min(h.earliest, r.Expiry)
	}
}

func (tx *Tx) appendGet(dst, key []byte, tracked bool) ([]byte, error) {
	w, err := tx.lookup(key, tracked)
	if err != nil {
		return dst, err
	}
	if w != nil {
		return bulk.Append(dst, w.value), nil
	}
	r := pastRead{found: found{copies: true}}
	out, err := tx.snapshot.appendInto(&r, dst, key)
	if err == nil && tracked {
		tx.noteExpiry(&r.record)
	}
	return out, tx.fail(err)
}

func (tx *Tx) view(key []byte, tracked bool, fn func(value []byte) error) error {
	r := pastRead{found: found{whole: true}}
	return tx.viewInto(&r, key, tracked, fn)
}

// viewInto is view with a read of the caller's, which may have been used before.
func (tx *Tx) viewInto(r *pastRead, key []byte, tracked bool, fn func(value []byte) error) error {
	w, err := tx.lookup(key, tracked)
	if err != nil {
		return err
	}
	if w != nil {
		return show(w.value, fn)
	}
	returned := false
	err = tx.snapshot.viewInto(r, key, func(value []byte) error {
		if tracked {
			tx.noteExpiry(&r.record)
		}
		err := fn(value)
		returned = true
		return err
	})
	if !returned {
		tx.fail(err) // it is not that of fn
	}
	return err
}

func (tx *Tx) getMany(keys [][]byte, tracked bool, fn func(i int, value []byte, err error) error) error {
	if err := tx.usable(); err != nil {
		return err
	}
	var i int
	var shown bool
	show := func(value []byte) error {
		shown = true
		return fn(i, value, nil)
	}
	r := pastRead{found: found{whole: true, keeps: true}}
	defer r.pin.Release()
	for i < len(keys) {
		next := min(i+prefetch.Batch, len(keys))
		tx.store.prefetch(keys[i:next])
		for ; i < next; i++ {
			shown = false
			err := tx.viewInto(&r, keys[i], tracked, show)
			if err != nil && !shown {
				rank.AssertNone("a callback of GetMany")
				err = fn(i, nil, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (tx *Tx) has(key []byte, tracked bool) (bool, error) {
	_, err := tx.size(key, tracked)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (tx *Tx) size(key []byte, tracked bool) (size int64, err error) {
	w, err := tx.lookup(key, tracked)
	if err != nil {
		return 0, err
	}
	if w != nil {
		return int64(len(w.value)), nil
	}
	err = tx.snapshot.head("Tx.Size", key, func(r *segment.Record) {
		if tracked {
			tx.noteExpiry(r)
		}
		size = int64(len(r.Value))
	})
	return size, tx.fail(err)
}

func (tx *Tx) ttl(key []byte, tracked bool) (ttl time.Duration, ok bool, err error) {
	w, err := tx.lookup(key, tracked)
	if err != nil {
		return 0, false, err
	}
	if w != nil {
		return w.ttl, w.ttl != 0, nil
	}
	n := tx.snapshot
	err = n.head("Tx.TTL", key, func(r *segment.Record) {
		if tracked {
			tx.noteExpiry(r)
		}
		if ok = r.Flags&segment.Expires != 0; ok {
			ttl = time.Duration(r.Expiry-n.hold.now) * time.Millisecond
		}
	})
	return ttl, ok, tx.fail(err)
}

// untracked is the Reader that Tx.Untracked returns.
type untracked struct{ tx *Tx }

func (u untracked) Get(key []byte) ([]byte, error) { return u.tx.appendGet([]byte{}, key, false) }

func (u untracked) AppendGet(dst, key []byte) ([]byte, error) {
	return u.tx.appendGet(dst, key, false)
}

func (u untracked) View(key []byte, fn func(value []byte) error) error {
	return u.tx.view(key, false, fn)
}

func (u untracked) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	return u.tx.getMany(keys, false, fn)
}

func (u untracked) Has(key []byte) (bool, error) { return u.tx.has(key, false) }

func (u untracked) Size(key []byte) (int64, error) { return u.tx.size(key, false) }

func (u untracked) TTL(key []byte) (time.Duration, bool, error) { return u.tx.ttl(key, false) }

func (u untracked) Scan(o ScanOptions, fn func(key, value []byte) error) error {
	return u.tx.scan(&o, false, fn)
}

func (u untracked) Iterator(o ScanOptions) (*Iterator, error) { return u.tx.iterator(&o, false) }
