package expiry

import (
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// Swept is the records of a file that the sweep takes out of the index while a compaction reads
// the file. It may include a record that the sweep did not take out after all.
type Swept struct {
	mu      rank.Mutex[rank.Swept] // guards the rest; a leaf
	offsets map[int64]bool
	bytes   int64 // as Tombstones returns
}

// NewSwept makes an empty Swept.
func NewSwept() *Swept { return &Swept{offsets: map[int64]bool{}} }

// Add adds the record at an offset, with a key of keySize bytes.
func (s *Swept) Add(offset int64, keySize int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offsets[offset] = true
	s.bytes += segment.RecordSize(keySize, 0, segment.Tombstone)
}

// Has reports whether the record at an offset may have been taken out.
func (s *Swept) Has(offset int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offsets[offset]
}

// Tombstones returns how many bytes tombstones for all these records would take.
func (s *Swept) Tombstones() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}
