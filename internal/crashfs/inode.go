package crashfs

import "slices"

// inode is a file, whatever its name.
type inode struct {
	durable     image
	everDurable int64    // the largest length that was ever durable
	pending     []change // since the last sync, in order; shared with clones, so never changed in place

	// The content as processes see it: that of durable while live is nil.
	live     *memory
	outgrown []*memory // older memory that mappings still show
	size     int64
	lost     bool // live shows what is neither durable nor pending

	linked    bool  // has a name, so its space counts
	allocated int64 // bytes of the disk's capacity, if linked

	sharedLocks   int
	exclusiveLock bool
}

// memory holds content. Mappings show it, so it never moves: a file that outgrows its memory
// takes more elsewhere, and writes to both.
type memory struct {
	bytes []byte // zeros past the file's end
	maps  int
}

type changeKind uint8

const (
	wrote     changeKind = iota
	setLength            // truncate
	extended             // allocate, or a write whose data was lost
)

// change is one change of a file that is not durable yet.
type change struct {
	kind   changeKind
	at     int64 // of wrote: offset; else: length
	data   []byte
	sum    uint64 // of data
	length int64  // of the file afterwards
}

// end is the offset just past the written bytes.
func (c change) end() int64 { return c.at + int64(len(c.data)) }

func (f *inode) clone() *inode {
	f.pending = slices.Clip(f.pending)
	copied := &inode{
		durable: f.durable.share(), everDurable: f.everDurable, pending: f.pending,
		size: f.size, lost: f.lost, linked: f.linked, allocated: f.allocated,
	}
	if f.lost || len(f.pending) > 0 {
		copied.live = &memory{bytes: slices.Clone(f.visible())}
	}
	return copied
}

// visible is the content. The bytes after it, up to size, are zeros.
func (f *inode) visible() []byte {
	if f.live == nil {
		return f.durable.bytes
	}
	return f.live.bytes[:min(f.size, int64(len(f.live.bytes)))]
}

// read copies content that lies below the file's end.
func (f *inode) read(p []byte, offset int64) {
	n := 0
	if visible := f.visible(); offset < int64(len(visible)) {
		n = copy(p, visible[offset:])
	}
	clear(p[n:])
}

// reserve gives the file memory of its own, for at least n bytes.
func (f *inode) reserve(n int64) {
	var old int64
	if f.live != nil {
		old = int64(len(f.live.bytes))
		if n <= old {
			return
		}
	}
	visible := f.visible()
	grown := &memory{bytes: make([]byte, max(n, 2*old, int64(len(visible))))}
	copy(grown.bytes, visible)
	if f.live != nil && f.live.maps > 0 {
		f.outgrown = append(f.outgrown, f.live)
	}
	f.live = grown
}

// show writes bytes to all memory that shows the file.
func (f *inode) show(p []byte, offset int64) {
	f.reserve(offset + int64(len(p)))
	copy(f.live.bytes[offset:], p)
	for _, m := range f.outgrown {
		if offset < int64(len(m.bytes)) {
			copy(m.bytes[offset:], p)
		}
	}
}

// showLength truncates or extends the visible content.
func (f *inode) showLength(size int64) {
	if size < f.size {
		f.reserve(0)
		f.live.clear(size, f.size)
		for _, m := range f.outgrown {
			m.clear(size, f.size)
		}
	}
	f.size = size
}

func (m *memory) clear(from, to int64) {
	if to = min(to, int64(len(m.bytes))); from < to {
		clear(m.bytes[from:to])
	}
}

// write is a pwrite.
func (f *inode) write(p []byte, offset int64, sum uint64) {
	f.show(p, offset)
	f.size = max(f.size, offset+int64(len(p)))
	f.pending = append(f.pending, change{kind: wrote, at: offset, data: slices.Clone(p), sum: sum, length: f.size})
}

func (f *inode) truncate(size int64) {
	f.showLength(size)
	f.pending = append(f.pending, change{kind: setLength, at: size, length: size})
}

func (f *inode) extend(size int64) {
	f.showLength(size)
	f.pending = append(f.pending, change{kind: extended, at: size, length: size})
}

func (f *inode) sync() {
	for _, c := range f.pending {
		f.durable.apply(c)
	}
	f.everDurable = max(f.everDurable, f.durable.size)
	f.pending = nil
}

// loseDirty forgets the pending data and keeps showing it. The lengths stay:
// they are the file system's own data, not the file's.
func (f *inode) loseDirty() {
	lengths := make([]change, 0, len(f.pending))
	length := f.durable.size
	for _, c := range f.pending {
		if c.kind == wrote {
			f.lost = true
			c = change{kind: extended, at: c.end(), length: c.length}
		}
		if c.length != length {
			lengths = append(lengths, c)
		}
		length = c.length
	}
	f.pending = lengths
}

// hash covers the durable content and the pending changes. Together they determine the visible
// content, unless something was lost; then hash covers that too.
func (f *inode) hash() uint64 {
	sum := f.durable.hash()
	for _, c := range f.pending {
		sum = mix(mix(mix(sum, uint64(c.kind)+1), uint64(c.at)), c.sum)
	}
	if f.lost {
		seen := image{bytes: f.visible(), size: f.size}
		sum = mix(sum, seen.hash())
	}
	return sum
}

// lock takes a lock on the file if no other lock excludes it.
func (f *inode) lock(exclusive bool) bool {
	if f.exclusiveLock || exclusive && f.sharedLocks > 0 {
		return false
	}
	if exclusive {
		f.exclusiveLock = true
	} else {
		f.sharedLocks++
	}
	return true
}

// grantLocked allocates space for a file's bytes up to end, or as far as the disk has space.
func (d *Disk) grantLocked(f *inode, end int64) (granted int64) {
	if !f.linked || end <= f.allocated {
		return end
	}
	more := min(end-f.allocated, d.freeLocked())
	f.allocated += more
	d.used += more
	return f.allocated
}

func (d *Disk) freeLocked() int64 { return max(d.capacity-d.used, 0) }

// cutAllocationLocked frees the space past a length.
func (d *Disk) cutAllocationLocked(f *inode, size int64) {
	if cut := f.allocated - size; cut > 0 {
		f.allocated = size
		if f.linked {
			d.used -= cut
		}
	}
}

// unlinkLocked frees the space of a file that has lost its name.
func (d *Disk) unlinkLocked(f *inode) {
	f.linked = false
	d.used -= f.allocated
}
