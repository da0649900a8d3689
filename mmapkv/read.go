package mmapkv

import (
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/segment"
)

// Get returns a copy of the key's value that the caller owns, not nil even when
// the value is empty. ErrNotFound when the key has none.
func (s *Store) Get(key []byte) ([]byte, error) {
	return s.appendGet("Get", []byte{}, key)
}

// AppendGet appends the key's value to dst and returns the longer slice; it
// allocates only when dst has no room. On an error dst comes back unchanged.
func (s *Store) AppendGet(dst, key []byte) (out []byte, err error) {
	return s.appendGet("AppendGet", dst, key)
}

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

// View calls fn with the key's value, without copying it. The value can be read
// until fn returns and must not be written; fn is called at most once, may call
// any method of the store, and its error is returned. A page of the value that
// cannot be read makes View return an error that wraps ErrCorrupt, unless fn
// recovers from the fault itself.
func (s *Store) View(key []byte, fn func(value []byte) error) (err error) {
	if s.events.watchesSlow() {
		defer s.timed("View", time.Now())
	}
	return s.view(key, fn)
}

func (s *Store) view(key []byte, fn func(value []byte) error) (err error) {
	f := found{whole: true}
	return s.viewInto(&f, key, fn)
}

// viewInto is view with the memory of a read, which may have been that of another one.
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

// Has says whether the key has a value, without reading it.
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

// TTL returns how long the key has still to live by the clock, which is more than it
// was given where the clock has been set back; ok is false when it never expires.
// ErrNotFound when it has no value.
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
	return max(left, 1), true, nil // it was not expired a moment ago
}

// Len is the number of keys. Expired ones count until they are swept out, some seconds
// later, also where the store is open for reading only; after Close it is 0.
func (s *Store) Len() int {
	set := s.catalog.Set()
	if set == nil {
		return 0
	}
	return set.Keys.Len()
}

// timed tells of a call that began then and was slow.
func (s *Store) timed(operation string, began time.Time) {
	s.events.slow(operation, time.Since(began))
}

// sawDamage tells of damage that a read has met.
func (s *Store) sawDamage(err error) {
	if corrupt, ok := err.(*CorruptError); ok {
		s.events.corruption(corrupt)
	}
}
