package mmapkv

import "github.com/mmapkv/mmapkv/segment"

// Reads of cold files: package residency says which those are, and why reads of them go
// through system calls.

const (
	// headBytes is how much fetch populates at first of a record whose size is not known.
	headBytes = 4 << 10
	// copyCold is the size of the largest record that is copied though the caller does
	// not ask for a copy.
	copyCold = 64 << 10
	// walkBytes is how much of a cold file a walk through it populates at a time.
	walkBytes = 1 << 20
)

// fetch populates the pages of the record at an offset of a cold file; size is -1
// when it is not known.
func (f *found) fetch(offset, size int64) {
	limit := f.file.Limit()
	if size >= 0 {
		f.file.Populate(offset, min(offset+size, limit))
		return
	}
	head := f.ahead
	if head < min(offset+headBytes, limit) {
		head = min(offset+headBytes, limit)
		f.file.Populate(offset, head)
	}
	var r segment.Record
	if f.whole && f.file.Record(&r, offset, -1) == nil && offset+r.Size > head {
		f.file.Populate(head, offset+r.Size)
	}
}
