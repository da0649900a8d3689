package order

import (
	"bytes"
	"slices"
	"sort"
)

// fences are 8 bytes of every fenceKeys-th key of a sorted list, so that a search in the list reads
// few keys.
type fences struct {
	common []byte   // what all keys begin with
	ranks  []uint64 // the 8 bytes after that
}

// fenceKeys is how many keys there are for each fence.
const fenceKeys = 16

// add adds the fence of a key.
func (f *fences) add(key []byte) { f.ranks = append(f.ranks, keyPrefix(key[len(f.common):])) }

// candidates returns the range [from, to] in which the first of count keys lies that is not below the
// given one; count stands for no key.
func (f *fences) candidates(key []byte, count int) (from, to int) {
	if len(f.ranks) == 0 {
		return 0, count
	}
	if !bytes.HasPrefix(key, f.common) {
		if bytes.Compare(key, f.common) < 0 {
			return 0, 0
		}
		return count, count
	}
	rank := keyPrefix(key[len(f.common):])
	from, _ = slices.BinarySearch(f.ranks, rank)
	same := f.ranks[from:]
	to = from + sort.Search(len(same), func(i int) bool { return same[i] > rank })
	if from > 0 {
		from = (from-1)*fenceKeys + 1
	}
	return from, min(to*fenceKeys, count)
}

// likely returns where in the range of candidates the key lies if the keys lie evenly. It need not be
// in the range.
func (f *fences) likely(key []byte, from, to int) int {
	before := from / fenceKeys
	if from == to || to-from >= fenceKeys || before+1 >= len(f.ranks) {
		return int(uint(from+to) / 2)
	}
	distance := (f.ranks[before+1] - f.ranks[before]) / fenceKeys
	passed := keyPrefix(key[len(f.common):]) - f.ranks[before]
	return before*fenceKeys + int(min(passed/max(distance, 1), fenceKeys-1))
}

// bytes is the memory that the fences take.
func (f *fences) bytes() int64 { return int64(cap(f.common) + 8*cap(f.ranks)) }
