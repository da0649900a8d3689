package order

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// view is the keys of many tables in one order. With it a seek is one binary search, however many
// tables there are, and a step compares nothing.
//
// What must hold:
//
//   - A view covers the oldest files of a set, all of them up to some one. So a key whose newest
//     record there is a tombstone is absent as far as the view goes, and is left out. Younger runs
//     are merged with the view.
//   - A record that the marks (package alive) say is dead is left out, too, unless it expires. The view's
//     number is captured after all marks were read, so what made the record dead has no higher number.
//     Whether marks are believed, and of which files, is as in sieve.go.
//   - Only a State that has the view's number, and so all records of these files, uses the view, and
//     only if they are the first files of its set.
//   - A view says where entries are, in the very tables it was made from, and not what they are.
//     Parts are checked as they are read. If one is damaged, the view is not used any more, and
//     cursors go on with the tables.
//
// The i-th place is the number of an entry: of its part, counted through all the tables, and within
// the part. As few bits as the largest number needs are stored for each: 20 for a million keys.
type view struct {
	sources []*source     // of the files it covers, oldest first
	tables  []*hints.Hint // of each source
	seq     uint64        // its number
	took    time.Duration // to make it

	broken atomic.Bool // a part was damaged, or, while it is being made, a file was retired

	firstParts []uint32 // of each table the number of its first part, and in the end how many parts there are
	tableOf    []uint32 // for numbers of parts: the table of the first one with these high bits
	tableShift int      // how many low bits are not in the index of tableOf

	width  int    // of a place, in bits
	near   int    // how many of them, the highest ones, say where the key lies between the fences
	places []byte // and some spare bytes
	count  int

	fences fences
	ranks  []uint64 // of the keys since the last fence, while the view is made
}

const (
	entryBits = 5 // of a place: the entry within its part
	spare     = 8 // bytes behind the places, so that each can be read as a word
)

// newView makes an empty view of tables.
func newView(sources []*source, tables []*hints.Hint) *view {
	v := &view{sources: sources, tables: tables, firstParts: []uint32{0}}
	parts := 0
	for i, t := range tables {
		v.seq = max(v.seq, sources[i].end.Load().Seq)
		parts += t.Parts()
		v.firstParts = append(v.firstParts, uint32(parts))
	}
	v.width = bits.Len(uint(parts)) + entryBits
	v.near = nearWidth(v.width)
	v.width += v.near
	for parts>>v.tableShift > 4*len(tables) {
		v.tableShift++
	}
	table := 0
	for part := 0; part < parts; part += 1 << v.tableShift {
		for int(v.firstParts[table+1]) <= part {
			table++
		}
		v.tableOf = append(v.tableOf, uint32(table))
	}
	v.places = make([]byte, spare)
	return v
}

// add adds a key behind all others: an entry of a table.
func (v *view) add(key []byte, table, index int) {
	rank := keyPrefix(key[len(v.fences.common):])
	if v.count%fenceKeys == 0 {
		v.noteNear(rank)
		v.fences.add(key)
	}
	v.ranks = append(v.ranks, rank)
	part, entry := v.tables[table].Locate(index)
	place := uint64(int(v.firstParts[table])+part)<<entryBits | uint64(entry)
	for len(v.places) < v.count*v.width>>3+2*spare {
		v.places = append(v.places, 0)
	}
	v.or(v.count, place)
	v.count++
}

// or sets bits of the i-th place.
func (v *view) or(i int, place uint64) {
	bit := i * v.width
	word := v.places[bit>>3:]
	binary.LittleEndian.PutUint64(word, binary.LittleEndian.Uint64(word)|place<<(bit&7))
}

// place is the i-th place.
func (v *view) place(i int) uint64 {
	bit := i * v.width
	return binary.LittleEndian.Uint64(v.places[bit>>3:]) >> (bit & 7) & (1<<v.width - 1)
}

// locate says where the i-th key is: in which table, in which part, and which entry.
func (v *view) locate(i int) (table, part, entry int) {
	place := v.place(i) & (1<<(v.width-v.near) - 1)
	part = int(place >> entryBits)
	table = int(v.tableOf[part>>v.tableShift])
	for int(v.firstParts[table+1]) <= part {
		table++
	}
	return table, part - int(v.firstParts[table]), int(place & (1<<entryBits - 1))
}

// covers reports whether these are the first sources of a set.
func (v *view) covers(sources []*source) bool {
	return len(sources) >= len(v.sources) && slices.Equal(sources[:len(v.sources)], v.sources)
}

// bytes is the memory that the view takes.
func (v *view) bytes() int64 {
	return v.fences.bytes() + int64(cap(v.places)+4*(cap(v.firstParts)+cap(v.tableOf))+16*cap(v.tables))
}

// A place must have room for every entry of a part.
var _ = [1]struct{}{}[segment.PartEntries-1<<entryBits]
