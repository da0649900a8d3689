package crashfs

// sectorSize is the number of bytes that a drive writes atomically.
const sectorSize = 512

// way is what a power cut leaves of a file's pending changes, from the least to the most.
type way int

const (
	keepNothing  way = iota
	keepFirst        // the first ones, and any sectors of the next
	keepEnds         // all but one run of sectors: a hole, followed by what was written later
	keepWrites       // any whole ones
	keepVersions     // each sector as it was after any of its writes
	keepSectors      // any sectors of any
	keepEverything
	waysCount
)

// keeper decides which pieces of a file's pending changes arrived. A piece is
// what a change did to one sector, or a change of length.
type keeper struct {
	way    way
	choose Chooser

	from, to int // keepFirst: from is the torn change; keepEnds: the pieces in [from, to) are lost
	asked    int // pieces so far

	decided int // keepWrites: the number, from 1, of the last change decided on
	kept    bool

	stale map[int64]bool // keepVersions: sectors that no later write reaches
}

func newKeeper(w way, pending []change, choose Chooser) *keeper {
	k := &keeper{way: w, choose: choose}
	switch w {
	case keepFirst:
		k.from = choose.Intn(len(pending))
	case keepEnds:
		pieces := 0
		for _, c := range pending {
			pieces += c.pieces()
		}
		k.from = choose.Intn(pieces)
		k.to = k.from + 1 + choose.Intn(pieces-k.from)
	case keepVersions:
		k.stale = map[int64]bool{}
	}
	return k
}

func (c change) pieces() int {
	if c.kind != wrote {
		return 1
	}
	return int((c.end()-1)/sectorSize-c.at/sectorSize) + 1
}

// noSector stands for the piece that is a change of length.
const noSector = -1

// sectors writes the sectors of the i-th change that arrived, and returns the end of the last
// one.
func (k *keeper) sectors(content *image, i int, c change) (end int64) {
	for at := c.at; at < c.end(); {
		next := min((at/sectorSize+1)*sectorSize, c.end())
		if k.piece(i, at/sectorSize) {
			content.write(c.data[at-c.at:next-c.at], at)
			end = next
		}
		at = next
	}
	return end
}

// piece reports whether a piece of the i-th change arrived. Callers ask about every piece, in
// order.
func (k *keeper) piece(i int, sector int64) bool {
	number := k.asked
	k.asked++
	switch k.way {
	case keepFirst:
		return i < k.from || i == k.from && k.flip()
	case keepEnds:
		return number < k.from || number >= k.to
	case keepWrites:
		if k.decided != i+1 {
			k.decided, k.kept = i+1, k.flip()
		}
		return k.kept
	case keepVersions:
		if sector == noSector {
			return k.flip()
		}
		if !k.stale[sector] {
			k.stale[sector] = !k.flip()
		}
		return !k.stale[sector]
	}
	return k.flip()
}

func (k *keeper) flip() bool { return k.choose.Intn(2) == 1 }
