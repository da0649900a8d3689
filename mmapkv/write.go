package mmapkv

import (
	"cmp"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// Put sets the key's value. The caller may reuse both slices when Put returns, and value may be
// one that View is showing.
func (s *Store) Put(key, value []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Put", time.Now())
	}
	return s.put(key, value, 0)
}

// PutWithTTL sets the key's value, which expires after ttl. It returns ErrInvalid if ttl is not
// positive.
//
// The wall clock decides, in whole milliseconds, rounded down. If the clock is set back, a value
// that had expired may be there again, for as long as the clock says so: until the sweep meets
// it, some seconds later, and again after the next Open, unless a compaction or a Delete has met
// it by then. The value that it had overwritten never comes back.
func (s *Store) PutWithTTL(key, value []byte, ttl time.Duration) error {
	if s.events.watchesSlow() {
		defer s.timed("PutWithTTL", time.Now())
	}
	if err := checkTTL(ttl); err != nil {
		return cmp.Or(s.writable(), err)
	}
	return s.put(key, value, expiryAfter(s.now(), ttl))
}

// expiryAfter returns when a time to live ends, in Unix milliseconds.
func expiryAfter(now time.Time, ttl time.Duration) int64 {
	return max(now.Add(ttl).UnixMilli(), 1)
}

// put is Put with an expiry in Unix milliseconds, 0 for never.
func (s *Store) put(key, value []byte, expiry int64) error {
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	if err := checkSizes(key, value); err != nil {
		return err
	}
	return s.log.Put(key, value, expiry)
}

// Delete removes the key's value. It is no error if the key has none. Delete works on a full disk
// too: where it needs space it drops segments of which nothing is needed, and hints, which the
// next Open rebuilds.
func (s *Store) Delete(key []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Delete", time.Now())
	}
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	if err := checkSizes(key, nil); err != nil {
		return err
	}
	fp := s.hasher.Fingerprint(key)
	set := s.catalog.Set()
	if set == nil {
		return ErrClosed
	}
	if !set.Partial && set.Keys.Get(fp) == index.NoLocation && !s.catalog.Hides.Load() {
		return nil
	}
	return s.log.Delete(key, fp)
}

// Write makes all of the batch's changes or, on an error, none. If the batch has several entries
// for a key, the last one counts. An empty batch changes nothing.
func (s *Store) Write(b *Batch) error {
	if s.events.watchesSlow() {
		defer s.timed("Write", time.Now())
	}
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	if b.err != nil {
		return b.err
	}
	if b.Len() == 0 {
		return nil
	}
	now := s.now()
	for _, t := range b.ttls {
		b.draft.SetExpiry(t.entry, expiryAfter(now, t.ttl))
	}
	return s.log.Write(&b.draft)
}

// Sync returns once every write acknowledged before it is on disk. It also checks that MANIFEST,
// LOCK and the files being written still have their names.
func (s *Store) Sync() error {
	if s.events.watchesSlow() {
		defer s.timed("Sync", time.Now())
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if s.options.ReadOnly {
		return nil
	}
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	if s.catalog.LookAtNames(); s.latch.Err() != nil {
		return s.latch.Err()
	}
	return s.log.Sync()
}

// beginWrite begins a write, which Close waits for and endWrite ends, or returns why the store
// takes no writes. Calls that start after Close are not counted, so Close never waits for them.
func (s *Store) beginWrite() error {
	if s.closed.Load() {
		return ErrClosed
	}
	rank.Acquire[rank.InFlight]()
	s.writing.Add(1)
	err := s.writable()
	if err != nil {
		s.endWrite()
	}
	return err
}

// writable returns why the store takes no writes; nil if it does.
func (s *Store) writable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.options.ReadOnly {
		return ErrReadOnly
	}
	return s.latch.Err()
}

// endWrite ends what beginWrite began.
func (s *Store) endWrite() {
	rank.Release[rank.InFlight]()
	if s.writing.Add(-1) == 0 && s.closed.Load() {
		select {
		case s.wroteLast <- struct{}{}:
		default: // a token is there already
		}
	}
}

// beingWritten reports whether writes are in flight.
func (s *Store) beingWritten() bool { return s.writing.Load() > 0 }

// awaitWrites returns when no write is in flight. The store is closed by now, so none follows.
func (s *Store) awaitWrites() {
	for s.writing.Load() > 0 {
		<-s.wroteLast
	}
}
