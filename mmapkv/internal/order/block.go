package order

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// A long scan does not choose the next key from all runs again and again. It gathers a block: from
// each run the entries up to a splitter, a key some way ahead. Then it merges what the runs gave,
// two at a time, without branches that depend on keys: a processor guesses half of those wrong.
//
// What is merged is one word for each entry: how far the key lies behind the lowest one possible in
// the block, as far as the bits go, and the number of the entry below that. All keys of the block
// lie between two that are known, so they share what these have in common, and the bits that
// follow nearly always tell keys apart. Those that they do not tell apart are compared in full.
// Entries are numbered by the age of their runs, so of one key the last is the newest.

const (
	blockBits  = 13             // of an entry's number
	blockMost  = 1 << blockBits // entries in a block
	blockAim   = blockMost / 4  // of them, about
	eagerAim   = 64             // of them, while a test wants many blocks
	keptKeys   = 256 << 10      // memory for keys that a block keeps, in bytes
	numberMask = uint64(blockMost) - 1
)

// block is the entries that lie next to each other in a State, in order.
type block struct {
	batch    segment.Batch
	last     segment.Batch // the one before, whose keys a Fill may have returned
	ofSource []uint32      // which source each entry is of
	indexes  []uint32      // of each entry, in its table; only while a view is made
	indexed  bool          // a view is made
	skipped  int           // entries that were not gathered, since their files are dead

	pieces []piece // what the runs gave; of one run in ascending order
	runs   []int   // how many pieces there are up to the end of each run's
	words  []uint64
	spare  []uint64

	order []uint16 // the numbers of the entries that are shown, ascending
	at    int      // how many of them are used, from the end that the cursor came from
}

// piece is entries of one run that are in order: their numbers, or the places of their words.
type piece struct{ from, to int }

// left is how many entries are left.
func (b *block) left() int { return len(b.order) - b.at }

// next is the number of the next entry.
func (b *block) next(heading heading) int {
	i := b.at
	if heading == backward {
		i = len(b.order) - 1 - i
	}
	b.at++
	return int(b.order[i])
}

// reset empties the block. If keep is set, the keys of its entries stay as they are.
func (b *block) reset(keep bool) {
	if keep {
		b.batch, b.last = b.last, b.batch
	}
	b.batch.Reset(keptKeys)
	b.ofSource, b.indexes = b.ofSource[:0], b.indexes[:0]
	b.pieces, b.runs, b.order, b.at, b.skipped = b.pieces[:0], b.runs[:0], b.order[:0], 0, 0
}

// addPiece notes the entries from a number on, if there are any, as the next piece of a run. They are
// of a source, unless ofSource says so already.
func (b *block) addPiece(from int, source uint32) {
	for len(b.ofSource) < len(b.batch.Entries) {
		b.ofSource = append(b.ofSource, source)
	}
	if to := len(b.batch.Entries); to > from {
		b.pieces = append(b.pieces, piece{from, to})
	}
}

// endRun notes that a run has given all its pieces. Backward, it gave the last one first.
func (b *block) endRun(heading heading) {
	first := 0
	if n := len(b.runs); n > 0 {
		first = b.runs[n-1]
	}
	if heading == backward {
		slices.Reverse(b.pieces[first:])
	}
	if len(b.pieces) > first {
		b.runs = append(b.runs, len(b.pieces))
	}
}

// isFull reports whether there may be no room for another piece.
func (b *block) isFull() bool { return len(b.batch.Entries) > blockMost-maxPiece }

// maxPiece is the largest number of entries that a run gives at once.
const maxPiece = 64

// outermost returns the lowest and the highest key.
func (b *block) outermost() (low, high []byte) {
	for i, p := range b.pieces {
		first, last := b.batch.Entries[p.from].Key, b.batch.Entries[p.to-1].Key
		if i == 0 || bytes.Compare(first, low) < 0 {
			low = first
		}
		if i == 0 || bytes.Compare(last, high) > 0 {
			high = last
		}
	}
	return low, high
}

// merge puts the entries in order. Their keys lie between two others, or at these.
func (b *block) merge(low, high []byte) {
	entries := b.batch.Entries
	b.words = slices.Grow(b.words[:0], len(entries))[:len(entries)]
	b.spare = slices.Grow(b.spare[:0], len(entries))[:len(entries)]
	same := commonSize(low, high)
	least := keyPrefix(low[same:])
	shift := bits.LeadingZeros64(keyPrefix(high[same:]) - least)
	n, first := 0, 0
	for i, end := range b.runs {
		began := n
		for _, p := range b.pieces[first:end] {
			for number := p.from; number < p.to; number++ {
				b.words[n] = (keyPrefix(entries[number].Key[same:])-least)<<shift&^numberMask | uint64(number)
				n++
			}
		}
		first = end
		b.pieces[i] = piece{began, n}
	}
	b.pieces = b.pieces[:len(b.runs)]
	b.mergePieces()
	b.choose(same)
}

// mergePieces merges pieces that are neighbours, until one is left.
func (b *block) mergePieces() {
	for len(b.pieces) > 1 {
		merged := b.pieces[:0]
		for i := 0; i < len(b.pieces); i += 2 {
			p := b.pieces[i]
			if i+1 == len(b.pieces) {
				copy(b.spare[p.from:p.to], b.words[p.from:p.to])
			} else {
				q := b.pieces[i+1]
				mergeWords(b.spare[p.from:q.to], b.words[p.from:p.to], b.words[q.from:q.to])
				p.to = q.to
			}
			merged = append(merged, p)
		}
		b.pieces = merged
		b.words, b.spare = b.spare, b.words
	}
}

// mergeWords merges two sorted lists. All words differ.
func mergeWords(to, x, y []uint64) {
	for len(x) > 0 && len(y) > 0 {
		some := to[:min(len(x), len(y))] // neither list ends before these are filled
		i := 0                           // how many are of x
		for n := range some {
			a, b := x[i], y[n-i]
			_, second := bits.Sub64(b, a, 0) // 1 if b comes first
			some[n] = a ^ (a^b)&-second
			i += 1 - int(second)
		}
		to, x, y = to[len(some):], x[i:], y[len(some)-i:]
	}
	copy(to, x)
	copy(to, y)
}

// choose notes which entries are shown: of each key the newest, unless it is a tombstone. All keys
// share their first same bytes.
func (b *block) choose(same int) {
	entries := b.batch.Entries
	b.order = slices.Grow(b.order[:0], len(b.words))
	for words := b.words; len(words) > 0; {
		n := 1
		for n < len(words) && (words[0]^words[n])&^numberMask == 0 {
			n++
		}
		if n == 1 {
			number := words[0] & numberMask
			if entries[number].Flags&segment.Tombstone == 0 {
				b.order = append(b.order, uint16(number))
			}
		} else {
			b.chooseTied(words[:n], same)
		}
		words = words[n:]
	}
}

// chooseTied is choose for entries whose words do not tell their keys apart.
func (b *block) chooseTied(words []uint64, same int) {
	entries := b.batch.Entries
	key := func(word uint64) []byte { return entries[word&numberMask].Key[same:] }
	slices.SortFunc(words, func(x, y uint64) int {
		return cmp.Or(bytes.Compare(key(x), key(y)), cmp.Compare(x, y))
	})
	for i, word := range words {
		if i+1 < len(words) && bytes.Equal(key(word), key(words[i+1])) {
			continue // the next one is newer
		}
		if number := word & numberMask; entries[number].Flags&segment.Tombstone == 0 {
			b.order = append(b.order, uint16(number))
		}
	}
}

// commonSize is how many of their first bytes two keys share.
func commonSize(x, y []byte) int {
	n := min(len(x), len(y))
	for i := range n {
		if x[i] != y[i] {
			return i
		}
	}
	return n
}
