package conflict

import (
	"bytes"
	"slices"
	"sort"
)

// Reads is what one transaction has read. The zero value is empty. It must not be copied, and is for one
// goroutine at a time.
type Reads struct {
	hashes     []uint64
	ranges     []span
	rangeBytes int64     // what the ranges take
	settled    bool      // both are sorted
	few        [4]uint64 // memory for the first hashes
}

// span is the keys with from <= key < to; a nil to is above all keys.
type span struct{ from, to []byte }

// spanBytes is what a span takes beside its bounds.
const spanBytes = 48

func (s *span) bytes() int64 { return spanBytes + int64(len(s.from)+len(s.to)) }

// Key adds the key that has a hash.
func (r *Reads) Key(hash uint64) {
	if n := len(r.hashes); n == 0 {
		r.hashes = r.few[:0]
	} else {
		if r.hashes[n-1] == hash {
			return
		}
		if n == cap(r.hashes) && n >= 64 {
			r.sortHashes() // a transaction may read the same keys again and again
			if free := cap(r.hashes) - len(r.hashes); free < cap(r.hashes)/4 {
				r.hashes = slices.Grow(r.hashes, cap(r.hashes))
			}
		}
	}
	r.hashes, r.settled = append(r.hashes, hash), false
}

// Range adds the keys with from <= key < to; a nil to means all from there on. Range takes over both
// slices.
func (r *Reads) Range(from, to []byte) {
	if to != nil && bytes.Compare(from, to) >= 0 {
		return
	}
	if n := len(r.ranges); n == cap(r.ranges) && n >= 64 {
		r.sortRanges()
		if free := cap(r.ranges) - len(r.ranges); free < cap(r.ranges)/4 {
			r.ranges = slices.Grow(r.ranges, cap(r.ranges))
		}
	}
	s := span{from, to}
	r.ranges, r.rangeBytes, r.settled = append(r.ranges, s), r.rangeBytes+s.bytes(), false
}

// Bytes returns what the Reads take.
func (r *Reads) Bytes() int64 { return int64(8*len(r.hashes)) + r.rangeBytes }

// Empty reports whether nothing has been read.
func (r *Reads) Empty() bool { return len(r.hashes) == 0 && len(r.ranges) == 0 }

// Settle prepares the Reads for Has. It is called once everything has been added.
func (r *Reads) Settle() {
	if r.settled {
		return
	}
	r.sortHashes()
	r.sortRanges()
	r.settled = true
}

func (r *Reads) sortHashes() {
	slices.Sort(r.hashes)
	r.hashes = slices.Compact(r.hashes)
}

// sortRanges sorts the ranges, and merges those that overlap or touch.
func (r *Reads) sortRanges() {
	if len(r.ranges) < 2 {
		return
	}
	slices.SortFunc(r.ranges, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	merged := r.ranges[:1]
	for _, s := range r.ranges[1:] {
		last := &merged[len(merged)-1]
		switch {
		case last.to != nil && bytes.Compare(s.from, last.to) > 0:
			merged = append(merged, s)
		case last.to != nil && (s.to == nil || bytes.Compare(s.to, last.to) > 0):
			last.to = s.to
		}
	}
	clear(r.ranges[len(merged):])
	r.ranges, r.rangeBytes = merged, 0
	for i := range merged {
		r.rangeBytes += merged[i].bytes()
	}
}

// Has reports whether a key, which has a hash, was read, or lies in a range that was. It may be called
// concurrently after Settle.
func (r *Reads) Has(hash uint64, key []byte) bool {
	if len(r.hashes) > 0 {
		if _, found := slices.BinarySearch(r.hashes, hash); found {
			return true
		}
	}
	above := sort.Search(len(r.ranges), func(i int) bool { return bytes.Compare(r.ranges[i].from, key) > 0 })
	if above == 0 {
		return false
	}
	s := &r.ranges[above-1]
	return s.to == nil || bytes.Compare(key, s.to) < 0
}
