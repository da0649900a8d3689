package order

import "math/bits"

// A place says besides where about the key lies between the fence before it and the next one. So a
// search reads only the keys that lie where the sought one does, mostly none or one of sixteen.
//
// Where it lies is the highest bits of the distance of its rank from the fence, counted from the
// highest one that is set in the distance of the fences. Keys that the ranks do not tell apart are all
// at 0, and are compared.

const (
	nearBits     = 6  // of a place, at most
	viewKeyBits  = 31 // that a view takes for each key, if it can
	fenceKeyBits = 64 / fenceKeys
)

// nearWidth is how many bits say where a key lies between the fences, beside the others of its place.
func nearWidth(placeBits int) int { return min(max(viewKeyBits-fenceKeyBits-placeBits, 0), nearBits) }

// between are two fences that follow each other.
type between struct {
	from  uint64
	shift int // bits of the distance from the first that are 0 for all keys between
	width int
}

// between returns the fences around the keys that follow a fence, in a view that is complete.
func (v *view) between(fence int) between {
	to := ^uint64(0)
	if fence+1 < len(v.fences.ranks) {
		to = v.fences.ranks[fence+1]
	}
	return newBetween(v.fences.ranks[fence], to, v.near)
}

func newBetween(from, to uint64, width int) between {
	return between{from: from, shift: bits.LeadingZeros64(to - from), width: width}
}

// near says where a rank lies between the fences.
func (b between) near(rank uint64) uint64 { return (rank - b.from) << b.shift >> (64 - b.width) }

// noteNear notes where the keys lie that were added since the last fence. to is the next fence.
func (v *view) noteNear(to uint64) {
	if v.near > 0 && len(v.ranks) > 0 {
		b := newBetween(v.ranks[0], to, v.near)
		for i, rank := range v.ranks {
			v.or(v.count-len(v.ranks)+i, b.near(rank)<<(v.width-v.near))
		}
	}
	v.ranks = v.ranks[:0]
}

// nearOf says where the i-th key lies between the fences around it.
func (v *view) nearOf(i int) uint64 { return v.place(i) >> (v.width - v.near) }

// narrow returns the part of a range of candidates in which the first key lies that is not below the
// given one. The fences gave the range.
func (v *view) narrow(key []byte, from, to int) (int, int) {
	if v.near == 0 || from == to || to-from >= fenceKeys || from%fenceKeys != 1 {
		return from, to
	}
	b := v.between(from / fenceKeys)
	near := b.near(keyPrefix(key[len(v.fences.common):]))
	for from < to && v.nearOf(from) < near {
		from++
	}
	end := from
	for end < to && v.nearOf(end) == near {
		end++
	}
	return from, end
}
