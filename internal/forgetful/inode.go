package forgetful

import "slices"

type writeKind int

const (
	pendingWrite writeKind = iota
	pendingTruncate
	pendingAllocate
)

// fileOp is one change of a file that is not durable yet. For a write, offset
// and data; for the others the offset is the size asked for. data is never
// changed, so that clones and the log share it.
type fileOp struct {
	kind   writeKind
	offset int64
	data   []byte
}

// lengthAfter is the file's length after the operation.
func (op fileOp) lengthAfter(length int64) int64 {
	switch op.kind {
	case pendingTruncate:
		return op.offset
	case pendingAllocate:
		return max(length, op.offset)
	}
	return max(length, op.offset+int64(len(op.data)))
}

// region is memory that shows the file from its first byte on; what lies behind
// the file's end is zero.
type region struct {
	bytes    []byte
	mappings int
}

// inode is a file's content: what a running process sees, what is durable, and
// the changes between the two.
type inode struct {
	length int64
	// regions holds the largest region last. The others exist because they are
	// mapped still; every change goes to all of them.
	regions []*region

	// durable is shared with clones while durableShared; nil with
	// durableIsCurrent, which saves the copy of files that nobody changes.
	durable          []byte
	durableShared    bool
	durableIsCurrent bool
	pending          []fileOp

	linked      bool
	exclusive   bool
	sharedLocks int
}

func newInode() *inode {
	return &inode{regions: []*region{{}}, linked: true}
}

// inodeOf takes over memory whose first length bytes are the durable content
// and the rest zeros.
func inodeOf(memory []byte, length int64) *inode {
	return &inode{
		length:           length,
		regions:          []*region{{bytes: memory}},
		durableIsCurrent: true,
		linked:           true,
	}
}

func (i *inode) memory() []byte { return i.regions[len(i.regions)-1].bytes }

func (i *inode) bytes() []byte { return i.memory()[:i.length] }

func (i *inode) durableBytes() []byte {
	if i.durableIsCurrent {
		return i.bytes()
	}
	return i.durable
}

// change performs the operation and remembers that it is not durable.
func (i *inode) change(op fileOp) {
	if i.durableIsCurrent {
		i.durable = slices.Clone(i.bytes())
		i.durableIsCurrent, i.durableShared = false, false
	}
	i.pending = append(i.pending, op)
	length := op.lengthAfter(i.length)
	i.grow(length, 2*int64(len(i.memory())))
	for _, r := range i.regions {
		if length < i.length && length < int64(len(r.bytes)) {
			clear(r.bytes[length:min(i.length, int64(len(r.bytes)))])
		}
		if op.kind == pendingWrite && op.offset < int64(len(r.bytes)) {
			copy(r.bytes[op.offset:], op.data)
		}
	}
	i.length = length
}

// grow makes the memory at least size long, and comfortable if it must move.
func (i *inode) grow(size, comfortable int64) {
	largest := i.regions[len(i.regions)-1]
	if size <= int64(len(largest.bytes)) {
		return
	}
	moved := &region{bytes: make([]byte, max(size, comfortable))}
	copy(moved.bytes, largest.bytes[:i.length])
	if largest.mappings == 0 {
		i.regions[len(i.regions)-1] = moved
		return
	}
	i.regions = append(i.regions, moved)
}

// mapRegion returns a region of at least size bytes with one more mapping.
func (i *inode) mapRegion(size int64) *region {
	i.grow(size, size)
	r := i.regions[len(i.regions)-1]
	r.mappings++
	return r
}

func (i *inode) unmapRegion(r *region) {
	r.mappings--
	at := slices.Index(i.regions, r)
	if r.mappings == 0 && at < len(i.regions)-1 {
		i.regions = slices.Delete(i.regions, at, at+1)
	}
}

func (i *inode) sync() {
	if len(i.pending) == 0 {
		return
	}
	if i.durableShared {
		i.durable = slices.Clone(i.durable)
		i.durableShared = false
	}
	for _, op := range i.pending {
		old := int64(len(i.durable))
		i.durable = resize(i.durable, op.lengthAfter(old))
		if op.kind == pendingWrite {
			copy(i.durable[op.offset:], op.data)
		}
	}
	i.pending = nil
}

// resize cuts b or extends it with zeros.
func resize(b []byte, length int64) []byte {
	old := int64(len(b))
	if length <= old {
		return b[:length]
	}
	b = slices.Grow(b, int(length-old))[:length]
	clear(b[old:])
	return b
}

// loseDirty forgets that the pending writes have to reach the disk: reads go on
// showing them, and no sync will bring them there.
func (i *inode) loseDirty() {
	kept := make([]fileOp, 0, len(i.pending))
	for _, op := range i.pending {
		if op.kind != pendingWrite {
			kept = append(kept, op)
		}
	}
	i.pending = kept
}

// clone copies all but the mappings and the locks.
func (i *inode) clone() *inode {
	memory := make([]byte, len(i.memory()))
	copy(memory, i.bytes())
	i.durableShared = !i.durableIsCurrent
	copied := inodeOf(memory, i.length)
	copied.durable = i.durable
	copied.durableShared = i.durableShared
	copied.durableIsCurrent = i.durableIsCurrent
	copied.pending = slices.Clip(i.pending)
	copied.linked = i.linked
	return copied
}
