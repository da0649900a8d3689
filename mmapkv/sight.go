package mmapkv

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// sight is what a conditional write has seen of its key. It is the condition that the leader
// judges: see wal.Condition. The leader reads no record. It asks whether the index still has
// exactly what it had when the caller compared the value. Only the leader changes a key's value, so
// the value is then still the same.
//
// What must hold:
//
//   - A location says which record it is only together with its file, since slots are used again.
//     The caller loads the set before the location, or finds the record itself in the file. The
//     leader loads the set after the location. So if another file got the slot in between, the two
//     differ. The file is only compared, so nothing keeps it open.
//   - In a full index, a key that is absent has no value. While the index loads, absence means
//     nothing, and the caller asks the tables too (lookup). What it found there stays true as long
//     as the index has the same as before: whoever writes a key leaves a location in the index, or
//     a placeholder. That ends when the index is full: a key that the caller has found, and that
//     the index then lacks, was deleted.
//   - Time changes a value as well. The verdict is yes only if the record has expired by now, or
//     has not, as when the caller saw it.
type sight struct {
	store *Store
	fp    index.Fingerprint

	loc     index.Location // what the index has for the fingerprint
	file    *catalog.File  // that loc lies in; nil if loc is NoLocation
	present bool           // the key had a value
	expiry  int64          // of the record in hand, in Unix milliseconds; 0: none, or never
	expired bool           // it had expired
}

// sights are kept for reuse.
var sights = sync.Pool{New: func() any { return new(sight) }}

// discard clears c for reuse.
func (c *sight) discard() {
	*c = sight{}
	sights.Put(c)
}

// begin notes what the index has before a lookup. That counts if the lookup asks the tables, or if
// it finds nothing although the index has something for the fingerprint: a placeholder that is
// about to be swept or, practically never, another key's record. The second case is so rare that
// begin takes the index to have nothing, until the log has refused a write.
func (c *sight) begin(again bool) {
	c.loc, c.file, c.present, c.expiry, c.expired = index.NoLocation, nil, false, 0, false
	set := c.store.catalog.Set()
	if set == nil || !set.Partial && !again {
		return // the lookup finds out that the store is closed
	}
	if c.loc = set.Keys.Get(c.fp); c.loc != index.NoLocation {
		c.file = set.File(c.loc)
	}
}

// saw notes the record that a lookup has found.
func (c *sight) saw(f *found) {
	c.present = true
	if f.record.Flags&segment.Expires != 0 {
		c.expiry = f.record.Expiry
	}
	c.lies(f)
}

// missed notes that a lookup has found no value. The record in hand may have expired.
func (c *sight) missed(f *found) {
	if f.file != nil && f.record.Flags&segment.Expires != 0 {
		c.expiry, c.expired = f.record.Expiry, c.store.expired(&f.record)
	}
	c.lies(f)
}

// lies notes where the index had the record in hand, if it had it.
func (c *sight) lies(f *found) {
	if f.loc != index.NoLocation {
		c.loc, c.file = f.loc, f.file
	}
}

// Depends reports whether a write of a key may change the verdict.
func (c *sight) Depends(fp index.Fingerprint, _ []byte) bool { return fp == c.fp }

// Holds reports whether the key still has what the caller saw. It asks in this order: the index,
// then whether that is full, or which files there are.
func (c *sight) Holds() bool {
	s := c.store
	set := s.catalog.Set()
	if set == nil || set.Keys.Get(c.fp) != c.loc {
		return false
	}
	if c.loc == index.NoLocation {
		if c.present && s.catalog.Loaded.Load() {
			return false
		}
	} else if set = s.catalog.Set(); set == nil || c.file == nil || set.File(c.loc) != c.file {
		return false
	}
	return c.expiry == 0 || (c.expiry <= s.now().UnixMilli()) == c.expired
}
