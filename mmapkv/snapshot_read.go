package mmapkv

import (
	"errors"
	"runtime"
	"time"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// Get is like Store.Get, of the state of the Snapshot.
func (n *Snapshot) Get(key []byte) ([]byte, error) {
	return n.appendGet("Snapshot.Get", []byte{}, key)
}

// AppendGet is like Store.AppendGet, of the state of the Snapshot.
func (n *Snapshot) AppendGet(dst, key []byte) (out []byte, err error) {
	return n.appendGet("Snapshot.AppendGet", dst, key)
}

// appendGet is AppendGet, called operation in the events.
func (n *Snapshot) appendGet(operation string, dst, key []byte) (out []byte, err error) {
	if s := n.hold.store; s.events.watchesSlow() {
		defer s.timed(operation, time.Now())
	}
	r := pastRead{found: found{copies: true}}
	return n.appendInto(&r, dst, key)
}

// appendInto is AppendGet without timing, with a read of the caller's.
func (n *Snapshot) appendInto(r *pastRead, dst, key []byte) (out []byte, err error) {
	old := guard.Enter()
	defer func() {
		if n.endRead(r, old, recover(), &err) {
			out = dst
		}
	}()
	if err := n.lookup(key, r, true); err != nil {
		return dst, err
	}
	r.dst = dst[:cap(dst)]
	return bulk.Append(dst, r.record.Value), nil
}

// View is like Store.View, of the state of the Snapshot.
func (n *Snapshot) View(key []byte, fn func(value []byte) error) (err error) {
	if s := n.hold.store; s.events.watchesSlow() {
		defer s.timed("Snapshot.View", time.Now())
	}
	r := pastRead{found: found{whole: true}}
	return n.viewInto(&r, key, fn)
}

// viewInto is View without timing, with a read of the caller's, which may have been used before.
func (n *Snapshot) viewInto(r *pastRead, key []byte, fn func(value []byte) error) (err error) {
	r.shown = false
	old := guard.Enter()
	defer func() { n.endRead(r, old, recover(), &err) }()
	if err := n.lookup(key, r, true); err != nil {
		return err
	}
	r.shown = true
	return show(r.record.Value, fn)
}

// GetMany is like Store.GetMany, of the state of the Snapshot. If the Snapshot is ended meanwhile, fn
// gets the error for each key that is left.
func (n *Snapshot) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	s := n.hold.store
	if s.events.watchesSlow() {
		defer s.timed("Snapshot.GetMany", time.Now())
	}
	if err := n.hold.err(); err != nil {
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
		s.prefetch(keys[i:next])
		for ; i < next; i++ {
			shown = false
			err := n.viewInto(&r, keys[i], show)
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

// Has is like Store.Has, of the state of the Snapshot.
func (n *Snapshot) Has(key []byte) (has bool, err error) {
	switch err := n.head("Snapshot.Has", key, func(*segment.Record) { has = true }); {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return has, nil
}

// Size is like Store.Size, of the state of the Snapshot.
func (n *Snapshot) Size(key []byte) (size int64, err error) {
	err = n.head("Snapshot.Size", key, func(r *segment.Record) { size = int64(len(r.Value)) })
	return size, err
}

// TTL returns how long the key had still to live when the Snapshot was made. ok is false if the key
// never expires. TTL returns ErrNotFound if the key has no value.
func (n *Snapshot) TTL(key []byte) (ttl time.Duration, ok bool, err error) {
	err = n.head("Snapshot.TTL", key, func(r *segment.Record) {
		if ok = r.Flags&segment.Expires != 0; ok {
			ttl = time.Duration(r.Expiry-n.hold.now) * time.Millisecond
		}
	})
	return ttl, ok, err
}

// head calls use with the key's record, whose value is not read.
func (n *Snapshot) head(operation string, key []byte, use func(r *segment.Record)) (err error) {
	if s := n.hold.store; s.events.watchesSlow() {
		defer s.timed(operation, time.Now())
	}
	var r pastRead
	old := guard.Enter()
	defer func() { n.endRead(&r, old, recover(), &err) }()
	if err := n.lookup(key, &r, false); err != nil {
		return err
	}
	use(&r.record)
	return nil
}

// endRead is found.endRead, and also ends the use of the hold. A Snapshot that is being read is not
// forgotten.
func (n *Snapshot) endRead(r *pastRead, old bool, recovered any, err *error) (fault bool) {
	if r.entered {
		r.entered = false
		defer n.hold.leave()
	}
	fault = r.found.endRead(old, recovered, err)
	runtime.KeepAlive(n)
	return fault
}
