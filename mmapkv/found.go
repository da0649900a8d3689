package mmapkv

import (
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// found is the record that a read has in hand. The read uses the record's file until it calls
// endRead.
type found struct {
	store  *Store
	walk   *walk // the Range or Keys that the read is part of; nil if none
	file   *catalog.File
	pin    segment.Pin // of the file; of none if the walk keeps it
	loc    index.Location
	record segment.Record
	copied []byte // the record's bytes, if the file is not mapped, or cold
	copies bool   // the caller copies the value anyway
	whole  bool   // the value is read or shown, not only the key
	keeps  bool   // the pin stays for the next read, and the caller releases it
	shown  bool   // a callback has the value
	ahead  int64  // a walk has populated the file up to here
	dst    []byte // the caller's, to which the read copies
}

// set returns the set of files that the read uses. It is nil once the store is closed, unless the
// read is part of a walk, which continues.
func (f *found) set() *catalog.FileSet {
	if f.walk != nil {
		return f.walk.set()
	}
	return f.store.catalog.Set()
}

// load decodes the record at a location. The header's checksum decides whether it is one. If the
// set has been replaced since it was loaded, and the file with it, load returns errRetired. It
// returns errMoved if the file is not in the set.
func (f *found) load(set *catalog.FileSet, loc index.Location) error {
	f.file = set.File(loc)
	if f.file == nil {
		return errMoved
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

// loadAt decodes the record at an offset. size is -1 if it is not known.
func (f *found) loadAt(offset, size int64) error {
	var err error
	cold := f.file.Cold.Load()
	if f.file.Memory() == nil || cold && (f.copies || f.whole && size >= 0 && size <= maxCopyCold) {
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

// copies are buffers for records that are read by system calls.
var copies sync.Pool

// borrowCopy takes a buffer from copies.
func borrowCopy() []byte {
	if b, ok := copies.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, 4<<10)
}

// endRead ends a read that began with guard.Enter. A panic that is a fault in the record's
// segment becomes the read's error. Any other panic continues unchanged.
//
//	old := guard.Enter()
//	defer func() { f.endRead(old, recover(), &err) }()
func (f *found) endRead(old bool, recovered any, err *error) (fault bool) {
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

// judge is isFault, and also releases what the read used, even if the panic's own methods panic.
func (f *found) judge(recovered any, err *error) (fault bool) {
	defer f.release()
	return f.isFault(recovered, err)
}

// isFault reports whether a panic is a fault in the record's segment, and sets the error if so.
// An I/O error need not last, so a fault in the store's own code counts even if the page can be
// read by now. In a callback it does not: the fault may be a write.
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

// release gives back what the read used.
func (f *found) release() {
	if !f.keeps {
		f.pin.Release()
	}
	if f.copied != nil {
		buffer := f.copied // a variable of its own, so that only this one moves to the heap
		f.copied = nil
		copies.Put(&buffer)
	}
}
