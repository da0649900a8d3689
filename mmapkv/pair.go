package mmapkv

import (
	"fmt"
	"iter"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
)

// The methods here read the pair that an Iterator stands at. They read the record anew each time,
// while the instant is in use. Damage that they find is the Iterator's error, so that nobody
// passes over it.

// Key returns the key of the pair, nil if the Iterator stands at none. It is good until the next
// move, and must not be written.
func (it *Iterator) Key() []byte {
	if it.merged != nil {
		return it.merged.Key()
	}
	if it.place != atPair {
		return nil
	}
	key := it.batch[it.at].Key
	if invariant.Enabled {
		if it.key == nil {
			it.key = clone(key)
		}
		key = it.key
	}
	return key[:len(key):len(key)]
}

// Value reads and verifies the value of the pair, and returns a copy of it, which is good until the
// next move. With ScanOptions.KeysOnly that is nil.
func (it *Iterator) Value() ([]byte, error) {
	if it.keysOnly {
		return nil, it.present()
	}
	if it.merged != nil {
		return it.merged.Value()
	}
	if err := it.copyValue(); err != nil {
		if err != errNoPair {
			it.note(err)
		}
		return nil, err
	}
	return it.value[:len(it.value):len(it.value)], nil
}

// copyValue reads the value into it.value.
func (it *Iterator) copyValue() (err error) {
	e, err := it.use()
	if err != nil {
		return err
	}
	defer it.hold.leave()
	in := found{store: it.store, whole: true, copies: true}
	old := guard.Enter()
	defer func() { in.endRead(old, recover(), &err) }()
	if err := it.read(&in, &e, true); err != nil {
		return err
	}
	it.value = bulk.Append(it.value[:0], in.record.Value)
	return nil
}

// View calls fn with the value of the pair, without copying it, and returns its error. It is like
// Store.View. With ScanOptions.KeysOnly the value is nil.
func (it *Iterator) View(fn func(value []byte) error) error {
	if it.keysOnly {
		if err := it.present(); err != nil {
			return err
		}
		rank.AssertNone("a callback of View")
		return fn(nil)
	}
	if it.merged != nil {
		return it.merged.View(fn)
	}
	damage, err := it.view(fn)
	if damage {
		it.note(err)
	}
	return err
}

// view is View of a value. damage says that the error is not that of fn.
func (it *Iterator) view(fn func(value []byte) error) (damage bool, err error) {
	e, err := it.use()
	if err != nil {
		return err != errNoPair, err
	}
	defer it.hold.leave()
	in := found{store: it.store, whole: true}
	old := guard.Enter()
	defer func() { damage = in.endRead(old, recover(), &err) || damage }()
	if err := it.read(&in, &e, true); err != nil {
		return true, err
	}
	in.shown = true
	return false, show(in.record.Value, fn)
}

// ValueSize returns the size of the value in bytes. It reads only the header of the record. It
// returns 0 if the Iterator stands at no pair, and if the header is damaged: Err says so then.
func (it *Iterator) ValueSize() int64 {
	if it.merged != nil {
		return it.merged.ValueSize()
	}
	size, err := it.valueSize()
	if err != nil && err != errNoPair {
		it.note(err)
	}
	return size
}

// valueSize is ValueSize with its error.
func (it *Iterator) valueSize() (size int64, err error) {
	e, err := it.use()
	if err != nil {
		return 0, err
	}
	defer it.hold.leave()
	in := found{store: it.store}
	old := guard.Enter()
	defer func() { in.endRead(old, recover(), &err) }()
	if err := it.read(&in, &e, false); err != nil {
		return 0, err
	}
	return int64(len(in.record.Value)), nil
}

// Pairs yields the pairs from where the Iterator stands on, in the direction of Next. A fresh
// Iterator is moved to its first pair. Keys and values are what Key and Value return, so they are
// good until the next pair. If the loop ends early, the Iterator still stands at the pair that was
// yielded last. After the loop, look at Err.
func (it *Iterator) Pairs() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.Valid() || it.Next(); ok; ok = it.Next() {
			value, err := it.Value()
			if err != nil {
				return
			}
			rank.AssertNone("the body of a loop over Pairs")
			if !yield(it.Key(), value) {
				return
			}
		}
	}
}

// use begins a use of the instant, and returns the entry of the pair. The caller leaves the hold.
func (it *Iterator) use() (order.Entry, error) {
	err := it.present()
	if err == nil {
		err = it.hold.enter()
	}
	if err != nil {
		return order.Entry{}, err
	}
	return it.batch[it.at], nil
}

// present returns why there is no pair to be read, nil if there is one.
func (it *Iterator) present() error {
	if it.merged != nil {
		return it.merged.present()
	}
	if err := it.ended(); err != nil {
		it.note(err)
		return err
	}
	if it.place != atPair {
		return errNoPair
	}
	return nil
}

// errNoPair means that there is no pair to be read.
var errNoPair = fmt.Errorf("%w: the Iterator stands at no pair", ErrInvalid)
