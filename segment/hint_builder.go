package segment

import (
	"bytes"
	"cmp"
	"io"
	"slices"

	"github.com/mmapkv/mmapkv/internal/bulk"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// HintBuilder collects the records of a file. The zero value is ready to use.
type HintBuilder struct {
	// Pause, if set, is called about every 100 µs while BuildHint and Encode work. It may block.
	Pause func()

	chunks  [][]byte // of encoded entries, in the order they were added
	count   int      // of entries
	common  []byte   // what all keys begin with
	lowest  uint64   // of the sequence numbers
	highest int64    // of the offsets
	worked  int      // bytes since the last pause
	damages []Damage
}

// chunkSize is the size in bytes of a chunk of entries. Any entry fits into it. One slice for all
// entries would be copied again and again as it grows.
const chunkSize = 1 << 20

// NewHintBuilder returns an empty builder.
func NewHintBuilder() *HintBuilder { return &HintBuilder{} }

// Add adds a record and copies its key. Of several records with the same key, Encode keeps the one
// with the highest sequence number.
func (b *HintBuilder) Add(e Entry) {
	if b.count == 0 {
		b.common, b.lowest = bytes.Clone(e.Key), e.Seq
	} else if !bytes.HasPrefix(e.Key, b.common) {
		b.common = commonPrefix(b.common, e.Key)
	}
	b.count++
	b.lowest, b.highest = min(b.lowest, e.Seq), max(b.highest, e.Offset)
	chunk := b.chunkFor(maxEntrySize(len(e.Key)))
	*chunk = appendEntry(*chunk, e)
}

// chunkFor returns a chunk with room for size more bytes.
func (b *HintBuilder) chunkFor(size int) *[]byte {
	last := len(b.chunks) - 1
	switch {
	case last < 0:
		b.chunks, last = append(b.chunks, nil), 0
	case len(b.chunks[last])+size > chunkSize:
		b.chunks, last = append(b.chunks, make([]byte, 0, chunkSize)), last+1
		prefetch.Pages(b.chunks[last])
	}
	chunk := &b.chunks[last]
	*chunk = bulk.Grow(*chunk, size)
	return chunk
}

// AddDamage adds a range that cannot be read. It must lie after the ranges added before.
func (b *HintBuilder) AddDamage(d Damage) { b.damages = append(b.damages, d) }

// AddLost adds the records that an older hint of the same file has in the damaged ranges and
// before end: their data is lost, but they are still known to exist. The damaged ranges are in
// order. Of parts that cannot be read, AddLost adds nothing, and returns the first error. It ends at
// an error that says the system lacks something: then nothing is known of the rest.
func (b *HintBuilder) AddLost(older *Table, end int64) (failed error) {
	for e, err := range older.Entries() {
		if errno.Scarce(err) {
			return err
		}
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		at, _ := slices.BinarySearchFunc(b.damages, e.Offset, func(d Damage, offset int64) int {
			return cmp.Compare(d.Offset+d.Length-1, offset)
		})
		if at < len(b.damages) && b.damages[at].Offset < e.Offset+e.Size && e.Offset+e.Size <= end {
			b.Add(Entry{Offset: e.Offset, Size: e.Size, Seq: e.Seq, Flags: e.Flags, Expiry: e.Expiry, Key: e.Key})
		}
	}
	return failed
}

// Damaged reports whether a damaged range was added.
func (b *HintBuilder) Damaged() bool { return len(b.damages) > 0 }

// BuildHint collects and checks the records in the bytes [from, to) of a file. Bytes between them
// or after the last one that cannot be read are damage. pause, if not nil, becomes the builder's
// Pause.
func BuildHint(r io.ReaderAt, salt uint64, from, to int64, pause func()) (*HintBuilder, error) {
	b := &HintBuilder{Pause: pause}
	s := NewScanner(r, salt, from, to)
	s.pause = pause
	if err := s.Each(func(e Entry) bool {
		b.work(int(min(e.Size, pauseBytes)))
		b.Add(e)
		return true
	}, b.AddDamage); err != nil {
		return nil, err
	}
	return b, nil
}

// work counts the bytes processed, and calls Pause when it is due.
func (b *HintBuilder) work(bytes int) {
	if b.worked += bytes; b.worked >= pauseBytes && b.Pause != nil {
		b.worked = 0
		b.Pause()
	}
}

const (
	pauseBytes = 32 << 10 // work between two calls of Pause
	lookCost   = 32       // the cost of looking at an entry, in bytes of work
)
