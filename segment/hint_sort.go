package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// sortItem stands for an entry while the builder sorts them. It is small, so moving it is cheap,
// and it usually decides a comparison without the entry.
type sortItem struct {
	prefix uint64 // the first 8 bytes of the key after what it has in common with its neighbours
	place  uint64 // where the entry is if all chunks were full, above sizeBits bits that hold its size
}

// sizeBits is enough bits for the size of an entry.
const sizeBits = 17

func (s sortItem) size() int { return int(s.place & (1<<sizeBits - 1)) }

// keyPrefix is the first 8 bytes of a key as a number that sorts like them. Zeros stand for missing
// bytes.
func keyPrefix(key []byte) uint64 {
	if len(key) >= prefixSize {
		return binary.BigEndian.Uint64(key)
	}
	var first [prefixSize]byte
	copy(first[:], key)
	return binary.BigEndian.Uint64(first[:])
}

const prefixSize = 8

// commonPrefix is what both keys begin with.
func commonPrefix(x, y []byte) []byte {
	n := min(len(x), len(y))
	for i := range n {
		if x[i] != y[i] {
			return x[:i]
		}
	}
	return x[:n]
}

// sorted returns the newest entry of each key before offset end, in key order.
func (b *HintBuilder) sorted(end int64) []sortItem {
	items := b.items(end)
	s := sorter{HintBuilder: b, spare: make([]sortItem, len(items))}
	prefetch.Pages(s.spare)
	s.sort(items, len(b.common), 0)
	return slices.CompactFunc(items, func(x, y sortItem) bool {
		b.work(passCost)
		return x.prefix == y.prefix && bytes.Equal(b.key(x), b.key(y))
	})
}

// items returns the entries before offset end, in the order they were added.
func (b *HintBuilder) items(end int64) []sortItem {
	items := make([]sortItem, 0, b.count)
	prefetch.Pages(items)
	for i, chunk := range b.chunks {
		for at := 0; at < len(chunk); {
			b.work(lookCost)
			size := entrySize(chunk[at:])
			item := sortItem{place: uint64(i*chunkSize+at)<<sizeBits | uint64(size)}
			if at += size; b.highest >= end && b.decode(item).Offset >= end {
				continue
			}
			item.prefix = keyPrefix(b.key(item)[len(b.common):])
			items = append(items, item)
		}
	}
	return items
}

// sorter sorts entries by key. Among entries of one key, the newest comes first.
//
// It sorts by the first 8 bytes after what all keys have in common, byte by byte, from the last
// one to the first, and each time moves every entry to its place. Entries that agree in all 8
// bytes are sorted by the bytes that follow. A comparison costs more than such a move, because
// nobody can predict its outcome, so only few entries are sorted by comparisons.
type sorter struct {
	*HintBuilder
	spare []sortItem // as many as there are entries
}

const (
	passCost  = 4   // of moving an entry, in bytes of work
	fewItems  = 128 // so many are faster sorted by comparisons
	maxLevels = 16  // of sorting by the bytes that follow; keys that agree further are compared
)

// sort sorts items whose keys agree in their first same bytes, and have the prefixes that follow.
// level counts how often sort was called inside itself.
func (s *sorter) sort(items []sortItem, same, level int) {
	if len(items) <= fewItems || level >= maxLevels {
		s.compare(items, same)
		return
	}
	s.byPrefix(items)
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].prefix == items[0].prefix {
			n++
		}
		s.work(passCost * n)
		if n > 1 {
			s.ties(items[:n], same, level)
		}
		items = items[n:]
	}
}

// ties sorts items that have the same prefix: 8 bytes, or fewer if their keys end there.
func (s *sorter) ties(items []sortItem, same, level int) {
	if len(items) <= fewItems {
		s.compare(items, same)
		return
	}
	for i := range items {
		s.work(lookCost)
		items[i].prefix = uint64(min(len(s.key(items[i]))-same, prefixSize))
	}
	s.byPrefix(items)
	for len(items) > 0 {
		size, n := items[0].prefix, 1
		for n < len(items) && items[n].prefix == size {
			n++
		}
		if size == prefixSize {
			s.further(items[:n], same+prefixSize, level+1)
		} else {
			s.newestFirst(items[:n]) // they are all of one key
		}
		items = items[n:]
	}
}

// further sorts items whose keys agree in their first same bytes by what follows.
func (s *sorter) further(items []sortItem, same, level int) {
	same = s.agree(items, same)
	for i := range items {
		s.work(lookCost)
		items[i].prefix = keyPrefix(s.key(items[i])[same:])
	}
	s.sort(items, same, level)
}

// newestFirst moves the newest of some entries of one key to the front.
func (s *sorter) newestFirst(items []sortItem) {
	newest, seq := 0, uint64(0)
	for i := range items {
		s.work(lookCost)
		if one := s.decode(items[i]).Seq; one > seq {
			newest, seq = i, one
		}
	}
	items[0], items[newest] = items[newest], items[0]
}

// compare sorts items whose keys agree in their first same bytes by comparisons.
func (s *sorter) compare(items []sortItem, same int) {
	slices.SortFunc(items, func(x, y sortItem) int {
		s.work(passCost)
		if x.prefix != y.prefix {
			return cmp.Compare(x.prefix, y.prefix)
		}
		keyX, keyY := s.key(x)[same:], s.key(y)[same:]
		s.work(lookCost + min(len(keyX), len(keyY)))
		if c := bytes.Compare(keyX, keyY); c != 0 {
			return c
		}
		return cmp.Compare(s.decode(y).Seq, s.decode(x).Seq)
	})
}

// agree returns how many of their first bytes all keys share. They do share the first same ones.
func (s *sorter) agree(items []sortItem, same int) int {
	common := s.key(items[0])[same:]
	for _, item := range items[1:] {
		key := s.key(item)[same:]
		s.work(lookCost + min(len(key), len(common)))
		if !bytes.HasPrefix(key, common) {
			common = commonPrefix(common, key)
		}
	}
	return same + len(common)
}

// byPrefix sorts items by their prefixes, and does not change the order of equal ones.
func (s *sorter) byPrefix(items []sortItem) {
	var counts [prefixSize][256]int // of the items with each value of each byte
	for block := range slices.Chunk(items, passItems) {
		for i := range block {
			for digit, rest := 0, block[i].prefix; digit < prefixSize; digit++ {
				counts[digit][byte(rest)]++
				rest >>= 8
			}
		}
		s.work(2 * passCost * len(block))
	}
	from, to := items, s.spare[:len(items)]
	for digit := range counts {
		places := &counts[digit]
		if places[byte(from[0].prefix>>(8*digit))] == len(items) {
			continue // all have the same byte here
		}
		next := 0
		for value, n := range places {
			places[value] = next
			next += n
		}
		for block := range slices.Chunk(from, passItems) {
			for _, item := range block {
				place := &places[byte(item.prefix>>(8*digit))]
				to[*place] = item
				*place++
			}
			s.work(passCost * len(block))
		}
		from, to = to, from
	}
	if &from[0] != &items[0] {
		copy(items, from)
	}
}

// passItems is how many items are moved between two looks at the clock of pauses.
const passItems = 1024
