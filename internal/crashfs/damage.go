package crashfs

import (
	"path"
	"slices"
	"syscall"
)

// Files lists the paths of all files, sorted within each directory.
func (d *Disk) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.filesLocked(nil, d.nodes[root].dir, "/")
}

func (d *Disk) filesLocked(paths []string, dir *directory, prefix string) []string {
	for _, e := range dir.entries {
		full := path.Join(prefix, e.name)
		if n := d.nodes[e.node]; n.dir != nil {
			paths = d.filesLocked(paths, n.dir, full)
			continue
		}
		paths = append(paths, full)
	}
	return paths
}

// Bytes returns a copy of a file's content, or nil when there is no such file.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.findLocked(clean(name))
	if err != nil || n.file == nil {
		return nil
	}
	content := make([]byte, n.file.size)
	n.file.read(content, 0)
	return content
}

// Flip flips the bits of the mask in one byte of a file, as bit rot does: on the medium and in
// every view of it. It reports whether the byte exists. It does not count as a call.
func (d *Disk) Flip(name string, offset int64, mask byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.findLocked(clean(name))
	if err != nil || n.file == nil || offset < 0 || offset >= n.file.size {
		return false
	}
	f := n.file
	written := false
	f.pending = slices.Clone(f.pending)
	for i, c := range f.pending {
		if c.kind == wrote && offset >= c.at && offset < c.end() {
			c.data = slices.Clone(c.data)
			c.data[offset-c.at] ^= mask
			c.sum = sumBytes(c.data)
			f.pending[i] = c
			written = true
		}
	}
	flipped := []byte{0}
	f.read(flipped, offset)
	flipped[0] ^= mask
	if offset < f.durable.size {
		durable := []byte{mask}
		if offset < int64(len(f.durable.bytes)) {
			durable[0] ^= f.durable.bytes[offset]
		}
		f.durable.write(durable, offset)
		written = true
	}
	switch {
	case !written: // a byte that was allocated and never written
		f.write(flipped, offset, sumBytes(flipped))
	case f.live != nil:
		f.show(flipped, offset)
	}
	return true
}

// SetBytes replaces a file's content, durably and at once. It creates a missing file, but not
// its directory. It does not count as a call. Its errors are errnos.
func (d *Disk) SetBytes(name string, content []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	full := clean(name)
	n, err := d.findLocked(full)
	switch {
	case err == syscall.ENOENT:
		f, err := d.makeLocked(full)
		if err != nil {
			return err
		}
		n.file = f
	case err != nil:
		return err
	case n.file == nil:
		return syscall.EISDIR
	}
	f := n.file
	d.cutAllocationLocked(f, 0)
	f.truncate(0)
	f.show(content, 0)
	f.size = int64(len(content))
	f.durable = image{bytes: slices.Clone(content), size: f.size, owned: true}
	f.everDurable = max(f.everDurable, f.size)
	f.pending, f.lost = nil, false
	f.allocated = f.size
	d.used += f.size
	return nil
}

// makeLocked creates a durable empty file.
func (d *Disk) makeLocked(full string) (*inode, error) {
	parent, err := d.findLocked(path.Dir(full))
	switch {
	case err != nil:
		return nil, err
	case parent.dir == nil:
		return nil, syscall.ENOTDIR
	}
	f := &inode{linked: true}
	add := entryChange{kind: addEntry, name: path.Base(full), node: d.addLocked(node{file: f})}
	parent.dir.entries = add.apply(parent.dir.entries)
	parent.dir.durable = add.apply(parent.dir.durable)
	return f, nil
}
