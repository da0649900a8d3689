package mmapkv

import (
	"bytes"
	"cmp"
	"time"

	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
)

// A conditional write is atomic with respect to everything else: between the moment at which its
// condition is judged and the moment at which the write can be read, no other write of the key has
// its place in the log. If the condition does not hold, nothing is written, and that is no error.
//
// "No" is the answer to a value, or to an absence, that every reader could see. So it is as durable
// as what a Get returns.

// PutIfAbsent sets the key's value if the key has none, and reports whether it did. A value that
// has expired counts as none. Otherwise it is as Put.
func (s *Store) PutIfAbsent(key, value []byte) (stored bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("PutIfAbsent", time.Now())
	}
	return putIfAbsent(s, key, value, 0)
}

// PutIfAbsentWithTTL is PutIfAbsent for a value that expires after ttl, as in PutWithTTL: a lock
// that is released even if its owner does not come back.
func (s *Store) PutIfAbsentWithTTL(key, value []byte, ttl time.Duration) (stored bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("PutIfAbsentWithTTL", time.Now())
	}
	if err := checkTTL(ttl); err != nil {
		return false, cmp.Or(s.writable(), err)
	}
	return putIfAbsent(s, key, value, expiryAfter(s.now(), ttl))
}

// putIfAbsent is PutIfAbsent with an expiry in Unix milliseconds, 0 for never.
func putIfAbsent(s *Store, key, value []byte, expiry int64) (bool, error) {
	return decide(s, key, value, wanted{absent: true}, func(c wal.Condition) (bool, error) {
		return s.log.PutIf(c, key, value, expiry)
	})
}

// CompareAndSwap sets the key's value to new if it is old, and reports whether it did. An absent
// key equals no value, so CompareAndSwap makes no key: see PutIfAbsent. A nil old is the empty
// value. The new value never expires, whether or not the old one would have.
//
// A value may expire while its successor is on its way to the disk. The swap counts then, although
// a read in that moment found no value.
func (s *Store) CompareAndSwap(key, old, new []byte) (swapped bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("CompareAndSwap", time.Now())
	}
	return decide(s, key, new, wanted{value: old}, func(c wal.Condition) (bool, error) {
		return s.log.PutIf(c, key, new, 0)
	})
}

// CompareAndDelete removes the key's value if it is old, and reports whether it did. It compares
// as CompareAndSwap does, and works on a full disk as Delete does.
func (s *Store) CompareAndDelete(key, old []byte) (deleted bool, err error) {
	if s.events.watchesSlow() {
		defer s.timed("CompareAndDelete", time.Now())
	}
	return decide(s, key, nil, wanted{value: old}, func(c wal.Condition) (bool, error) {
		return s.log.DeleteIf(c, key, s.hasher.Fingerprint(key))
	})
}

// wanted is what a key must have for a write to be made: no value, or this one.
type wanted struct {
	absent bool
	value  []byte
}

// decide makes a write of the key if the key has what is wanted, and reports whether it did. What
// the caller has compared may be out of date when it is the write's turn: the log then refuses it,
// and decide looks again. Each time somebody else has come further: a write of the key, the
// compaction that moved its record, or the loading of the index.
func decide(s *Store, key, value []byte, want wanted, write func(wal.Condition) (bool, error)) (done bool, err error) {
	if err := cmp.Or(s.writable(), checkSizes(key, value)); err != nil {
		return false, err
	}
	c := sights.Get().(*sight)
	defer c.discard()
	c.store, c.fp = s, s.hasher.Fingerprint(key)
	for again := false; ; again = true {
		if has, err := c.look(key, want, again); err != nil || !has {
			return false, err
		}
		if done, err := c.attempt(write); err != nil || done {
			return done, err
		}
	}
}

// attempt hands a write to the log, and reports whether the log made it.
func (c *sight) attempt(write func(wal.Condition) (bool, error)) (done bool, err error) {
	if err := c.store.beginWrite(); err != nil {
		return false, err
	}
	defer c.store.endWrite()
	return write(c)
}

// look looks the key up, and reports whether it has what is wanted. again says that the log has
// refused a write after an earlier look.
func (c *sight) look(key []byte, want wanted, again bool) (has bool, err error) {
	s := c.store
	c.begin(again)
	f := found{whole: !want.absent}
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	switch err := s.lookup(key, &f, !want.absent && !s.options.SkipReadChecksum); err {
	case nil:
		c.saw(&f)
		return !want.absent && bytes.Equal(f.record.Value, want.value), nil
	case ErrNotFound:
		c.missed(&f)
		return want.absent, nil
	default:
		return false, err
	}
}
