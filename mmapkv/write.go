package mmapkv

import (
	"cmp"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// Put gives the key a value. Both may be reused at once; the value may be one
// that View is showing.
func (s *Store) Put(key, value []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Put", time.Now())
	}
	return s.put(key, value, 0)
}

// PutWithTTL gives the key a value that is gone after ttl; ErrInvalid when ttl
// is not positive. The wall clock counts, in whole milliseconds, rounded down: where
// it is set back, a value that had expired may be there again, for as long as the
// clock says: until the sweep meets it, some seconds later, and again behind the next
// Open, unless a compaction or a Delete has met it by then. What it had overwritten
// is not.
func (s *Store) PutWithTTL(key, value []byte, ttl time.Duration) error {
	if s.events.watchesSlow() {
		defer s.timed("PutWithTTL", time.Now())
	}
	if err := checkTTL(ttl); err != nil {
		return cmp.Or(s.writable(), err)
	}
	return s.put(key, value, expiryAfter(s.now(), ttl))
}

// expiryAfter is when a time to live ends, in Unix milliseconds.
func expiryAfter(now time.Time, ttl time.Duration) int64 {
	return max(now.Add(ttl).UnixMilli(), 1)
}

func (s *Store) put(key, value []byte, expiry int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := checkSizes(key, value); err != nil {
		return err
	}
	return s.log.Put(key, value, expiry)
}

// Delete removes the key's value; an absent key is no error. On a full disk it
// still works, and drops segments of which nothing is needed and hints, which the
// next Open makes again, where it needs their room.
func (s *Store) Delete(key []byte) error {
	if s.events.watchesSlow() {
		defer s.timed("Delete", time.Now())
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := checkSizes(key, nil); err != nil {
		return err
	}
	print := s.hasher.Fingerprint(key)
	l := s.catalog.Set()
	if l == nil {
		return ErrClosed
	}
	if l.Keys.Get(print) == index.NoLocation && !s.catalog.Hides.Load() {
		return nil
	}
	return s.log.Delete(key, print)
}

// Write makes all of the batch's changes or, on an error, none. Of several
// entries for a key the last one counts. An empty batch changes nothing.
func (s *Store) Write(b *Batch) error {
	if s.events.watchesSlow() {
		defer s.timed("Write", time.Now())
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
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

// Sync returns once everything acknowledged before it is on disk, and finds out whether
// MANIFEST, LOCK and the files being written still have their names.
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
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if s.catalog.LookAtNames(); s.latch.Err() != nil {
		return s.latch.Err()
	}
	return s.log.Sync()
}

// enter begins a write, which Close waits for and which leave ends, or says why the
// store takes none. Who comes when the store is closed is not counted, lest Close
// wait for those that go on asking.
func (s *Store) enter() error {
	if s.closed.Load() {
		return ErrClosed
	}
	rank.Acquire[rank.InFlight]()
	s.writing.Add(1)
	err := s.writable()
	if err != nil {
		s.leave()
	}
	return err
}

// leave ends what enter began.
func (s *Store) leave() {
	rank.Release[rank.InFlight]()
	if s.writing.Add(-1) == 0 && s.closed.Load() {
		select {
		case s.wroteLast <- struct{}{}:
		default: // a token is there already
		}
	}
}

// awaitWrites returns when no write is in flight. The store is closed by now, so
// that none follows.
func (s *Store) awaitWrites() {
	for s.writing.Load() > 0 {
		<-s.wroteLast
	}
}

// writable says why the store takes no writes, nil when it does.
func (s *Store) writable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.options.ReadOnly {
		return ErrReadOnly
	}
	return s.latch.Err()
}
