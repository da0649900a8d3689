package main

import (
	"errors"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// The store is told, and tells, how long a value still lives; a line says when it
// dies, to the millisecond. The time that passes between our look at the clock
// and the store's must not move that, so both directions look again when it was
// too much.

// expiry is when a key's value expires, in Unix milliseconds; ok is false when it
// never does.
func expiry(s *mmapkv.Store, key []byte) (expires int64, ok bool, err error) {
	for {
		before := time.Now()
		ttl, ok, err := s.TTL(key)
		after := time.Now()
		if err != nil || !ok {
			return 0, false, err
		}
		// It is a whole millisecond between before+ttl and after+ttl: one fits.
		if after.Sub(before) < time.Millisecond {
			return after.Add(ttl).UnixMilli(), true, nil
		}
	}
}

// putUntil puts a value that expires then; one whose time has come is left out.
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
			return nil // its time has come meanwhile
		}
		if err != nil || got == expires {
			return err
		}
	}
}

// untilExpiry is how long a value still lives, up to 292 years.
func untilExpiry(expires int64) time.Duration { return time.Until(time.UnixMilli(expires)) }
