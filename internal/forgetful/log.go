package forgetful

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Kind names a state-changing call.
type Kind string

const (
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Allocate Kind = "allocate"
	Datasync Kind = "datasync"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	DirSync  Kind = "dirsync"
)

// Op is one state-changing call that took effect. Data must not be changed.
type Op struct {
	Kind   Kind
	Name   string // the path
	Offset int64  // of a write; the size for truncate and allocate
	Data   []byte // what was written; the new path for rename
}

// Log returns what changed the disk since it was made or cloned, in order.
func (d *Disk) Log() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

// LogHash is the hash of Log: two disks that were treated alike, byte for byte,
// have the same, in every process.
func (d *Disk) LogHash() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logHash
}

func (d *Disk) recordLocked(op Op) {
	d.log = append(d.log, op)
	h := hashString(d.logHash, string(op.Kind))
	h = hashString(h, op.Name)
	h = mix(h, uint64(op.Offset))
	d.logHash = hashBytes(h, op.Data)
}

// Hash is the hash of all names, lengths and bytes as a process sees them now;
// what is durable of it does not matter.
func (d *Disk) Hash() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return hashDirectory(firstLogHash, d.root)
}

func hashDirectory(h uint64, d *directory) uint64 {
	h = mix(h, uint64(len(d.current)))
	for _, have := range d.current {
		h = hashString(h, have.name)
		if have.node.dir != nil {
			h = hashDirectory(mix(h, 1), have.node.dir)
		} else {
			h = hashBytes(mix(h, 2), have.node.file.bytes())
		}
	}
	return h
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	return high ^ low ^ a
}

func hashString(h uint64, s string) uint64 {
	h = mix(h, uint64(len(s)))
	for i := range len(s) {
		h = mix(h, uint64(s[i]))
	}
	return h
}

// hashBytes takes sixteen bytes per multiplication: a simulator hashes every
// state it reaches.
func hashBytes(h uint64, b []byte) uint64 {
	h = mix(h, uint64(len(b)))
	for len(b) >= 16 {
		h = mix(h^binary.LittleEndian.Uint64(b), bits.RotateLeft64(h, 32)^binary.LittleEndian.Uint64(b[8:]))
		b = b[16:]
	}
	for _, c := range b {
		h = mix(h, uint64(c))
	}
	return h
}
