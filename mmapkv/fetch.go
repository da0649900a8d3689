package mmapkv

import "github.com/mmapkv/mmapkv/segment"

// A file is cold if it is not all in memory. Package residency says why reads of cold files
// go through system calls.

const (
	// headBytes is how much fetch populates first if it does not know the record's size.
	headBytes = 4 << 10
	// maxCopyCold is the maximum size of a record that is copied even though the caller
	// does not ask for a copy.
	maxCopyCold = 64 << 10
	// walkBytes is how much of a cold file a walk populates at a time.
	walkBytes = 1 << 20
)

// fetch populates the pages of the record at an offset of a cold file. size is -1 if it is not
// known.
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
