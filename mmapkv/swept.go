package mmapkv

import (
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// sweptRecords are the records that the sweep takes out of a file while a compaction
// has it in hand. One may be told that the sweep did not take out in the end.
type sweptRecords struct {
	mu      rank.Mutex[rank.Swept] // guards the rest; a leaf
	offsets map[int64]bool
	bytes   int64
}

// newSwept makes an empty one.
func newSwept() *sweptRecords { return &sweptRecords{offsets: map[int64]bool{}} }

// add notes that the record at an offset, with a key of so many bytes, is taken out.
func (r *sweptRecords) add(offset int64, keySize int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offsets[offset] = true
	r.bytes += segment.RecordSize(keySize, 0, segment.Tombstone)
}

// has says whether the record at an offset may have been taken out.
func (r *sweptRecords) has(offset int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offsets[offset]
}

// tombstones is what tombstones in their place would take, in bytes.
func (r *sweptRecords) tombstones() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}
