package mmapkv

import (
	"errors"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// found is a record that a read has in hand. The read uses the record's file until
// it calls leave.
type found struct {
	store  *Store
	walk   *walk // the Range or Keys that this is a part of; nil: none
	file   *catalog.File
	pin    segment.Pin // of the file; of none if the walk keeps it
	loc    index.Location
	record segment.Record
	copied []byte // the record's bytes, when the file is not mapped, or cold
	copies bool   // the value is copied anyway
	whole  bool   // the value is read, or shown
	keeps  bool   // the pin stays for the next read, and whoever says so releases it
	shown  bool   // a callback has them
	ahead  int64  // up to where the file was populated, for a walk through it
	dst    []byte // the caller's, which the read writes to
}

// leave ends a read that began with guard.Enter. A panic that is a fault in the
// record's segment becomes the read's error, any other goes on unchanged.
//
//	old := guard.Enter()
//	defer func() { f.leave(old, recover(), &err) }()
func (f *found) leave(old bool, recovered any, err *error) (fault bool) {
	guard.Leave(old)
	if recovered == nil {
		f.release()
		return false
	}
	if !f.judge(recovered, err) {
		panic(recovered)
	}
	f.store.sawDamage(*err)
	return true
}

// judge is isFault for a read that ends with it, also if the panic's own methods
// panic.
func (f *found) judge(recovered any, err *error) (fault bool) {
	defer f.release()
	return f.isFault(recovered, err)
}

// release gives back what the read used.
func (f *found) release() {
	if !f.keeps {
		f.pin.Release()
	}
	if f.copied != nil {
		buffer := f.copied // so that only this one moves to the heap
		f.copied = nil
		copies.Put(&buffer)
	}
}

// set is the set of files that the read goes by; nil when the store is closed,
// unless the read is part of a walk that goes on.
func (f *found) set() *catalog.FileSet {
	if f.walk != nil {
		return f.walk.set()
	}
	return f.store.catalog.Set()
}

// copies are buffers for records of files that are not mapped.
var copies sync.Pool

// isFault says whether a panic is a fault in the record's segment, and which
// error that is. An I/O error need not last, so that a fault of ours is one even if
// the page can be read by now; one of a callback may be a write.
func (f *found) isFault(recovered any, err *error) bool {
	if f.file == nil {
		return false
	}
	offset, fault := guard.Inside(recovered, f.file.Memory())
	if _, written := guard.Inside(recovered, f.dst); written {
		return false
	}
	if fault && f.shown {
		_, fault = guard.Catch(recovered, f.file.Memory())
	}
	if fault {
		*err = f.file.Corrupt(offset, "the page cannot be read")
	}
	return fault
}

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
		if f.leave(old, recover(), &err) {
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
	defer func() { f.leave(old, recover(), &err) }()
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
	defer func() { f.leave(old, recover(), &err) }()
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
	defer func() { f.leave(old, recover(), &err) }()
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
	l := s.catalog.Set()
	if l == nil {
		return 0
	}
	return l.Keys.Len()
}

// lookup finds the key's record. The caller has entered the fault guard and
// releases f.
//
// The set of files is loaded behind the location, for each of them: a file is
// published before the index points into it, so that it is there, unless the
// record has been moved since. And should the slot be another file's by then, a
// record of the key in there is one that was current after the read began. A read
// that is refused a file, which was retired just now, begins again.
func (s *Store) lookup(key []byte, f *found, checkValue bool) error {
	f.store = s
	hash := s.hasher.Hash(key)
	for {
		l := f.set()
		if l == nil {
			return ErrClosed
		}
		err := s.search(l.Keys, hash, key, f, checkValue)
		if err == nil || err == ErrNotFound || err == ErrClosed {
			return err
		}
		if err == errRetired {
			continue // there is another set by now
		}
		// What a record says against the read counts only if the index still
		// points to it; otherwise the key was moved between two steps.
		if f.loc == index.NoLocation || pointsTo(f.set(), hash, f.loc) {
			if err == errExpired {
				return ErrNotFound
			}
			s.sawDamage(err)
			return err
		}
	}
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

var (
	errExpired = errors.New("mmapkv: the record has expired")
	errRetired = errors.New("mmapkv: the segment was retired before the read could use it")
)

// search goes through the records that the index has for the hash. A damaged one
// may be another key's, so it counts only when no other record has the key.
func (s *Store) search(keys *index.KeyDir, hash uint64, key []byte, f *found, checkValue bool) error {
	var damage error
	var damaged index.Location
	candidates := keys.Find(hash)
	for {
		loc, ok := candidates.Next()
		if !ok {
			f.loc = damaged
			if damage != nil {
				return damage
			}
			return ErrNotFound
		}
		f.loc = loc
		l := f.set()
		if l == nil {
			return ErrClosed
		}
		if err := f.load(l, loc); err == errRetired {
			return err
		} else if err != nil {
			damage, damaged = err, loc
			continue
		}
		if string(f.record.Key) != string(key) {
			continue
		}
		if s.expired(&f.record) {
			return errExpired
		}
		if checkValue && !f.record.ValueOK() {
			return f.file.Corrupt(loc.Offset(), failure.BadValue)
		}
		return nil
	}
}

// expired says whether a record has expired. It asks the clock only if it must.
func (s *Store) expired(r *segment.Record) bool {
	return r.Flags&segment.Expires != 0 && s.expiredNow(r)
}

//go:noinline
func (s *Store) expiredNow(r *segment.Record) bool { return r.Expired(s.now().UnixMilli()) }

// load decodes the record at a location; its header's checksum decides. errRetired
// when the set has been replaced meanwhile, and the file with it.
func (f *found) load(l *catalog.FileSet, loc index.Location) error {
	f.file = l.File(loc)
	if f.file == nil {
		return &CorruptError{File: "index", Offset: loc.Offset(), Reason: "the segment is gone"}
	}
	if !f.pin.Take(f.file.Segment) && !f.walk.keeps(f.file) {
		f.file = nil
		return errRetired
	}
	size, known := loc.Size()
	if !known {
		size = -1
	}
	return f.loadAt(loc.Offset(), size)
}

// loadAt decodes the record at an offset; size is -1 when it is not known.
func (f *found) loadAt(offset, size int64) error {
	var err error
	cold := f.file.Cold.Load()
	if f.file.Memory() == nil || cold && (f.copies || f.whole && size >= 0 && size <= copyCold) {
		if f.copied == nil {
			f.copied = borrowCopy()
		}
		f.copied, err = f.file.Load(&f.record, f.copied, offset, size)
	} else {
		if cold {
			f.fetch(offset, size)
		}
		err = f.file.Record(&f.record, offset, size)
	}
	if err != nil {
		return f.file.Corrupt(offset, err.Error())
	}
	return nil
}

func borrowCopy() []byte {
	if b, ok := copies.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, 4<<10)
}

// pointsTo says whether the index of a store that is not closed has the location for
// the hash.
func pointsTo(l *catalog.FileSet, hash uint64, loc index.Location) bool {
	return l != nil && l.Keys.Holds(hash, loc)
}
