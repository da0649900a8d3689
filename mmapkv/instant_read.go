package mmapkv

import (
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/order"
	"github.com/mmapkv/mmapkv/segment"
)

// leavesOut reports whether the key of an entry was absent at the instant, because its record had
// expired.
func (m *instant) leavesOut(e *order.Entry) bool {
	if e.Flags&segment.Expires != 0 && e.Expiry <= m.now {
		return true
	}
	return m.leftEarly(e)
}

// leftEarly reports whether an entry's record has left the index by a clock that has been set back since.
// Reads do not find it any more, so it does not come, although by the present clock it has not expired.
func (m *instant) leftEarly(e *order.Entry) bool {
	return e.Flags&segment.Expires != 0 && e.Expiry <= m.judged && m.store.catalog.Loaded.Load() && !e.File.Alive.Test(e.Offset)
}

// read decodes the record of an entry, and checks that it is the one that the entry means. With
// value, read also checks the value, unless the options say not to. It reports damage. The caller
// has entered the fault guard.
func (m *instant) read(in *found, e *order.Entry, value bool) error {
	in.file = e.File
	err := in.loadAt(e.Offset, e.Size)
	if err == nil && !means(e, &in.record) {
		err = e.File.Corrupt(e.Offset, wrongRecord)
	}
	if err == nil && value && !m.store.options.SkipReadChecksum && !in.record.ValueOK() {
		err = e.File.Corrupt(e.Offset, failure.BadValue)
	}
	if err != nil {
		m.store.sawDamage(err)
	}
	return err
}

// means reports whether an entry and a record agree. They do not if a table is damaged in a way that
// its checksums do not show.
func means(e *order.Entry, r *segment.Record) bool {
	return r.Seq == e.Seq && r.Flags&segment.Tombstone == 0 && string(r.Key) == string(e.Key)
}

// wrongRecord is the Reason for damage in which a table and a segment do not agree.
const wrongRecord = "the record here is not the one that the sorted list of keys means"
