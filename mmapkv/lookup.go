package mmapkv

import (
	"errors"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// lookup finds the key's record. The caller has entered the fault guard, and ends the read with
// endRead.
//
// The set of files is loaded after each location. A file is published before the index points
// into it, so the set has the file, unless the record has moved since. By then another file may
// have the slot. If the read finds a record of the key there, that record is as good: it was
// current after the read began. That another key's file gets the slot in that moment is
// practically impossible, since slots go round by thousands of files (catalog.FileList). If the
// file was retired just now and refuses the read, the read starts again.
func (s *Store) lookup(key []byte, f *found, checkValue bool) error {
	f.store = s
	hash := s.hasher.Hash(key)
	for {
		set := f.set()
		if set == nil {
			return ErrClosed
		}
		var err error
		if set.Partial && !s.catalog.Loaded.Load() {
			err = s.searchPartial(set, hash, key, f, checkValue)
		} else {
			err = s.search(set.Keys, hash, key, f, checkValue)
		}
		if err == nil || err == ErrNotFound || err == ErrClosed {
			return err
		}
		if err == errRetired {
			continue // there is another set by now
		}
		// An error that the record causes counts only if the index still points to the record.
		// Otherwise the key was moved between two steps.
		if f.loc == index.NoLocation || pointsTo(f.set(), hash, f.loc) {
			if err == errExpired {
				return ErrNotFound
			}
			if err == errMoved {
				err = &CorruptError{File: "index", Offset: f.loc.Offset(), Reason: "the segment is gone"}
			}
			s.sawDamage(err)
			return err
		}
	}
}

var (
	// errExpired means that the key's record has expired.
	errExpired = errors.New("mmapkv: the record has expired")
	// errMoved means that no file has the location's slot. The record has moved since the read
	// had its location. If the index still has that, it is the index that is wrong.
	errMoved = errors.New("mmapkv: the record has moved")
	// errRetired means that the record's file was retired just now. Another set is published.
	errRetired = errors.New("mmapkv: the segment was retired before the read could use it")
)

// search tries the records that the index has for the hash. A damaged record may belong to
// another key, so it counts only if no other record has the key.
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
		set := f.set()
		if set == nil {
			return ErrClosed
		}
		if err := f.load(set, loc); err == errRetired {
			return err
		} else if err != nil {
			if loc.Tombstone() {
				continue // loading has just ended, and has yet to sweep the placeholders
			}
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

// expired reports whether a record has expired. It asks the clock only if it must.
func (s *Store) expired(r *segment.Record) bool {
	return r.Flags&segment.Expires != 0 && s.expiredNow(r)
}

// expiredNow is the part of expired that asks the clock. It is not inlined, so that expired is.
//
//go:noinline
func (s *Store) expiredNow(r *segment.Record) bool { return r.Expired(s.now().UnixMilli()) }

// pointsTo reports whether the index has the location for the hash. It does not once the store is
// closed.
func pointsTo(set *catalog.FileSet, hash uint64, loc index.Location) bool {
	return set != nil && set.Keys.Holds(hash, loc)
}
