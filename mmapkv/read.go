package mmapkv

import (
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/segment"
)

// Get returns a copy of the key's value, which the caller owns. It is not nil even if the value
// is empty. Get returns ErrNotFound if the key has no value.
func (s *Store) Get(key []byte) ([]byte, error) {
	return s.appendGet("Get", []byte{}, key)
}

// AppendGet appends the key's value to dst and returns the longer slice. It allocates only if dst
// has no room. On an error it returns dst unchanged.
func (s *Store) AppendGet(dst, key []byte) (out []byte, err error) {
	return s.appendGet("AppendGet", dst, key)
}

// appendGet is AppendGet, called operation in the events.
func (s *Store) appendGet(operation string, dst, key []byte) (out []byte, err error) {
	if s.events.watchesSlow() {
		defer s.timed(operation, time.Now())
	}
	f := found{copies: true}
	old := guard.Enter()
	defer func() {
		if f.endRead(old, recover(), &err) {
			out = dst
		}
	}()
	if err := s.lookup(key, &f, !s.options.SkipReadChecksum); err != nil {
		return dst, err
	}
	f.dst = dst[:cap(dst)]
	return bulk.Append(dst, f.record.Value), nil
}

// View calls fn with the key's value, without copying it. The value can be read until fn returns,
// and must not be written. View calls fn at most once, and returns its error. fn may call any
// method of the store. If a page of the value cannot be read, View returns an error that wraps
// ErrCorrupt, unless fn recovers from the fault itself.
func (s *Store) View(key []byte, fn func(value []byte) error) (err error) {
	if s.events.watchesSlow() {
		defer s.timed("View", time.Now())
	}
	return s.view(key, fn)
}

// view is View without timing.
func (s *Store) view(key []byte, fn func(value []byte) error) (err error) {
	f := found{whole: true}
	return s.viewInto(&f, key, fn)
}

// viewInto is view with a found of the caller's, which an earlier read may have used.
func (s *Store) viewInto(f *found, key []byte, fn func(value []byte) error) (err error) {
	f.shown = false
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	if err := s.lookup(key, f, !s.options.SkipReadChecksum); err != nil {
		return err
	}
	f.shown = true
	return show(f.record.Value, fn)
}

// Has reports whether the key has a value, without reading the value.
func (s *Store) Has(key []byte) (has bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("Has", time.Now())
	}
	var f found
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	switch err := s.lookup(key, &f, false); {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrNotFound):
		return false, nil
	default:
		return false, err
	}
}

// TTL returns how long the key still has to live by the clock. If the clock has been set back,
// that is more than the key was given. ok is false if the key never expires. TTL returns
// ErrNotFound if the key has no value.
func (s *Store) TTL(key []byte) (ttl time.Duration, ok bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("TTL", time.Now())
	}
	var f found
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	if err := s.lookup(key, &f, false); err != nil {
		return 0, false, err
	}
	if f.record.Flags&segment.Expires == 0 {
		return 0, false, nil
	}
	left := time.UnixMilli(f.record.Expiry).Sub(s.now())
	return max(left, 1), true, nil // it had not expired a moment ago
}

// Len returns the number of keys. Expired keys count until they are swept, some seconds later,
// also on a read-only store. Len waits until the index is full, see Ready. After Close it is 0.
func (s *Store) Len() int {
	set := s.catalog.Set()
	if set == nil || !s.loading.Wait() {
		return 0
	}
	return set.Keys.Len()
}

// timed reports a call that began then, if it was slow.
func (s *Store) timed(operation string, began time.Time) {
	s.events.slow(operation, time.Since(began))
}

// sawDamage reports damage that a read found.
func (s *Store) sawDamage(err error) {
	if corrupt, ok := err.(*CorruptError); ok {
		s.events.corruption(corrupt)
	}
}
