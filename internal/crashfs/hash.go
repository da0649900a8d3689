package crashfs

import (
	"encoding/binary"
	"math/bits"
)

// Hash returns a hash of the names and the content of the disk. It distinguishes durable from
// pending changes. It is the same in every process. It ignores locks, capacity, and nodes that
// no name leads to.
func (d *Disk) Hash() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hashLocked(root)
}

func (d *Disk) hashLocked(number int) uint64 {
	n := d.nodes[number]
	if n.file != nil {
		return n.file.hash()
	}
	sum := uint64(len(n.dir.durable))
	for _, e := range n.dir.durable {
		sum = mix(sumName(sum, e.name), d.hashLocked(e.node))
	}
	for _, c := range n.dir.pending {
		sum = sumName(sumName(mix(sum, uint64(c.kind)), c.name), c.to)
		if c.kind == addEntry {
			sum = mix(sum, d.hashLocked(c.node))
		}
	}
	return sum
}

// Any two odd numbers whose bits look random.
const (
	factorA = 0x9e3779b97f4a7c15
	factorB = 0xe7037ed1a0b428db
)

// mix folds a word into a hash. The order of the words matters.
func mix(sum, word uint64) uint64 {
	high, low := bits.Mul64(sum^factorA, word^factorB)
	return high ^ low ^ bits.RotateLeft64(sum, 23)
}

func sumName(sum uint64, name string) uint64 {
	for i := range len(name) {
		sum = (sum ^ uint64(name[i])) * factorA
	}
	return mix(sum, uint64(len(name)))
}

func sumBytes(p []byte) uint64 {
	sum := uint64(len(p))
	for len(p) >= 8 {
		sum = mix(sum, binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	var last [8]byte
	copy(last[:], p)
	return mix(sum, binary.LittleEndian.Uint64(last[:]))
}
