package main

import (
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// The store takes and returns how long a value still lives; a line has the moment of
// its expiry, to the millisecond. The time that passes between our reading of the
// clock and the store's must not shift that moment, so both directions try again if
// too much time passed.

// expiry returns when a key's value expires, in Unix milliseconds; ok is false if it
// never does.
func expiry(s *mmapkv.Store, key []byte) (expires int64, ok bool, err error) {
	for {
		before := time.Now()
		ttl, ok, err := s.TTL(key)
		after := time.Now()
		if err != nil || !ok {
			return 0, false, err
		}
		// The expiry is the only whole millisecond between before+ttl and after+ttl.
		if after.Sub(before) < time.Millisecond {
			return after.Add(ttl).UnixMilli(), true, nil
		}
	}
}

// putUntil puts a value with the given expiry, unless it has already expired.
func putUntil(s *mmapkv.Store, key, value []byte, expires int64) error {
	for {
		left := untilExpiry(expires)
		if left <= 0 {
			return nil
		}
		if err := s.PutWithTTL(key, value, left); err != nil {
			return err
		}
		got, _, err := expiry(s, key)
		if errors.Is(err, mmapkv.ErrNotFound) {
			return nil // it has just expired
		}
		if err != nil || got == expires {
			return err
		}
	}
}

// untilExpiry is how long a value still lives, capped at 292 years.
func untilExpiry(expires int64) time.Duration { return time.Until(time.UnixMilli(expires)) }
