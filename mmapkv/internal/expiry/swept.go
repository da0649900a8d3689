package expiry

import (
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// Swept are the records that the sweep takes out of a file while a compaction
// has it in hand. One may be told that the sweep did not take out in the end.
type Swept struct {
	mu      rank.Mutex[rank.Swept] // guards the rest; a leaf
	offsets map[int64]bool
	bytes   int64
}

// NewSwept makes an empty one.
func NewSwept() *Swept { return &Swept{offsets: map[int64]bool{}} }

// Add notes that the record at an offset, with a key of so many bytes, is taken out.
func (r *Swept) Add(offset int64, keySize int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offsets[offset] = true
	r.bytes += segment.RecordSize(keySize, 0, segment.Tombstone)
}

// Has says whether the record at an offset may have been taken out.
func (r *Swept) Has(offset int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offsets[offset]
}

// Tombstones is what tombstones in their place would take, in bytes.
func (r *Swept) Tombstones() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}
