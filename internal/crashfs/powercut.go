package crashfs

import (
	"encoding/binary"
	"iter"
)

// PowerCut returns the disk as it may be if its power were cut now: what was synced is there,
// and of the pending changes what the Chooser keeps. The old disk stays as it is.
func (d *Disk) PowerCut(choose Chooser) *Disk {
	return d.powerCut(choose, d.cutFileLocked)
}

// PowerCutWhole is a PowerCut after which each change of a file is there whole or not at all.
// Bytes that were allocated and never written read as zeros. There are few enough of these
// states to enumerate them all.
func (d *Disk) PowerCutWhole(choose Chooser) *Disk {
	return d.powerCut(choose, cutWhole)
}

func (d *Disk) powerCut(choose Chooser, cut cutFile) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := &Disk{capacity: d.capacity, nodes: make([]node, len(d.nodes))}
	after.takeLocked(d, root, choose, cut)
	return after
}

// cutFile returns what is left of a file.
type cutFile func(f *inode, choose Chooser) *inode

// PowerCuts yields every distinct disk that a power cut may leave now, as far as
// Enumerate(width) reaches it. With more than a handful of pending writes the enumeration takes
// too long to be useful.
func (d *Disk) PowerCuts(width int) iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		seen := map[uint64]bool{}
		for e := Enumerate(width); e.Next(); {
			after := d.PowerCut(e)
			if sum := after.Hash(); !seen[sum] {
				seen[sum] = true
				if !yield(after) {
					return
				}
			}
		}
	}
}

// takeLocked takes over what is left of a node of another disk, and of all that is still
// reachable from it.
func (d *Disk) takeLocked(before *Disk, number int, choose Chooser, cut cutFile) {
	old := before.nodes[number]
	if old.file != nil {
		f := cut(old.file, choose)
		d.nodes[number].file = f
		d.used += f.allocated
		return
	}
	entries := old.dir.cut(choose)
	d.nodes[number].dir = &directory{entries: entries, durable: entries}
	for _, e := range entries {
		d.takeLocked(before, e.node, choose, cut)
	}
}

// cut keeps the first changes of a directory, as a journal does. It may also keep some later
// ones, unless they affect a name whose earlier change was lost.
func (dir *directory) cut(choose Chooser) []entry {
	entries, n := dir.durable, len(dir.pending)
	if n == 0 {
		return entries
	}
	first := choose.Intn(n + 1)
	for _, c := range dir.pending[:first] {
		entries = c.apply(entries)
	}
	if first+1 >= n || choose.Intn(2) == 0 {
		return entries
	}
	lost := dir.pending[first].names(nil)
	for _, c := range dir.pending[first+1:] {
		if c.touches(lost) || choose.Intn(2) == 0 {
			lost = c.names(lost)
			continue
		}
		entries = c.apply(entries)
	}
	return entries
}

// cutWhole keeps any subset of a file's changes, each whole.
func cutWhole(f *inode, choose Chooser) *inode {
	content := f.durable.share()
	for _, c := range f.pending {
		if choose.Intn(2) == 1 {
			content.apply(c)
		}
	}
	return f.after(content)
}

// cutFileLocked keeps any part of a file's changes, in one of several ways.
func (d *Disk) cutFileLocked(f *inode, choose Chooser) *inode {
	content := f.durable.share()
	if len(f.pending) > 0 {
		switch w := way(choose.Intn(int(waysCount))); w {
		case keepNothing:
		case keepEverything:
			for _, c := range f.pending {
				content.apply(c)
			}
		default:
			d.cutChangesLocked(&content, f, newKeeper(w, f.pending, choose), choose)
		}
	}
	return f.after(content)
}

// after returns the file as a power cut leaves it, with this content.
func (f *inode) after(content image) *inode {
	return &inode{
		durable: content, everDurable: content.size, size: content.size,
		linked: true, allocated: min(f.allocated, content.size),
	}
}

// cutChangesLocked applies the kept parts of the changes to the durable content, and chooses a
// length.
func (d *Disk) cutChangesLocked(content *image, f *inode, keep *keeper, choose Chooser) {
	length := content.size
	shortest, longest := length, length
	for _, c := range f.pending {
		shortest, longest = min(shortest, c.length), max(longest, c.length)
	}
	// Until the length is chosen the content is as long as it can become.
	content.setSize(longest)
	if f.everDurable < longest {
		d.fillLocked(content, f, longest, choose)
	}
	for i, c := range f.pending {
		switch {
		case c.kind == wrote:
			length = max(length, keep.sectors(content, i, c))
		case !keep.piece(i, noSector):
		case c.kind == extended:
			length = max(length, c.at)
		case c.kind == setLength:
			content.setSize(c.at)
			content.setSize(longest)
			length = c.at
		}
	}
	if shortest < longest {
		switch choose.Intn(4) {
		case 1:
			length = f.pending[choose.Intn(len(f.pending))].length
		case 2:
			length = shortest + int64(choose.Intn(int(longest-shortest)+1))
		case 3:
			length = longest
		}
	}
	content.setSize(length)
}

// fillLocked chooses what the allocated and perhaps never written part of a file shows: zeros,
// noise, or what another file has at these offsets.
func (d *Disk) fillLocked(content *image, f *inode, end int64, choose Chooser) {
	start := f.everDurable
	switch choose.Intn(4) {
	case 1:
		noise := random{uint64(choose.Intn(4))}
		filling := make([]byte, 0, end-start+7)
		for int64(len(filling)) < end-start {
			filling = binary.LittleEndian.AppendUint64(filling, noise.next())
		}
		content.write(filling[:end-start], start)
	case 2:
		other := d.nodes[choose.Intn(len(d.nodes))].file
		if other == nil || other == f {
			return
		}
		if stale := other.durable.bytes[:min(end, int64(len(other.durable.bytes)))]; start < int64(len(stale)) {
			content.write(stale[start:], start)
		}
	}
}
