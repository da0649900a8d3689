package forgetful

import (
	"fmt"
	"path"
	"slices"
)

// Kill returns the disk as the next process finds it after a SIGKILL: all that
// was written, still unsynced where it was, and no locks. The old process goes
// on with the old disk. The log and the calls start anew, the power is on.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.copyLocked()
}

// Clone is Kill that keeps the log, the calls and where the power goes off.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copied := d.copyLocked()
	copied.calls = d.calls
	copied.stopAtCall = d.stopAtCall
	copied.stopInside = d.stopInside
	copied.off = d.off
	copied.log = slices.Clip(d.log)
	copied.logHash = d.logHash
	return copied
}

func (d *Disk) copyLocked() *Disk {
	copied := New()
	copied.capacity = d.capacity
	copied.used = d.used
	copied.root = make(copier).directory(d.root)
	return copied
}

// copier maps files and directories to their copies: the same one can be in the
// current entries, in the durable ones and in the pending changes.
type copier map[node]node

func (c copier) node(n node) node {
	if copied, ok := c[n]; ok {
		return copied
	}
	var copied node
	if n.dir != nil {
		copied.dir = c.directory(n.dir)
	} else {
		copied.file = n.file.clone()
	}
	c[n] = copied
	return copied
}

func (c copier) directory(d *directory) *directory {
	copied := &directory{current: c.entries(d.current)}
	if len(d.pending) == 0 {
		copied.durable = copied.current
		return copied
	}
	copied.durable = c.entries(d.durable)
	copied.pending = slices.Clone(d.pending)
	for i := range copied.pending {
		copied.pending[i].node = c.node(copied.pending[i].node)
	}
	return copied
}

func (c copier) entries(e entries) entries {
	copied := slices.Clone(e)
	for i := range copied {
		copied[i].node = c.node(copied[i].node)
	}
	return copied
}

// Names lists a directory, sorted; nil when there is none.
func (d *Disk) Names(dir string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, errno := d.directoryAt(clean(dir))
	if errno != 0 {
		return nil
	}
	return found.names()
}

// Bytes returns a copy of what a file shows; nil when there is none.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, errno := d.nodeAt(clean(name))
	if errno != 0 || found.file == nil {
		return nil
	}
	return append([]byte{}, found.file.bytes()...)
}

// SetBytes replaces a file's content, durably and behind everybody's back; the
// file is made, durably, when it is absent. Neither a call nor in the log.
func (d *Disk) SetBytes(name string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	parent, errno := d.directoryAt(path.Dir(name))
	if errno != 0 {
		panic(fmt.Sprintf("forgetful: SetBytes: no directory %s", path.Dir(name)))
	}
	base := path.Base(name)
	found, ok := parent.current.get(base)
	if !ok {
		found = node{file: newInode()}
		parent.current = parent.current.with(base, found)
		parent.durable = parent.durable.with(base, found)
	}
	file := found.file
	if file == nil {
		panic(fmt.Sprintf("forgetful: SetBytes: %s is a directory", name))
	}
	d.used += int64(len(b)) - file.length
	file.change(fileOp{kind: pendingTruncate})
	file.change(fileOp{kind: pendingWrite, data: b})
	file.durable, file.durableShared, file.durableIsCurrent = nil, false, true
	file.pending = nil
}

// Flip changes the bits of one byte, durably and behind everybody's back; a
// write that is pending there can still replace it.
func (d *Disk) Flip(name string, offset int64, mask byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, errno := d.nodeAt(clean(name))
	if errno != 0 || found.file == nil || offset < 0 || offset >= found.file.length {
		panic(fmt.Sprintf("forgetful: Flip: no byte %d in %s", offset, name))
	}
	file := found.file
	for _, r := range file.regions {
		if offset < int64(len(r.bytes)) {
			r.bytes[offset] ^= mask
		}
	}
	if offset < int64(len(file.durable)) {
		file.durable = slices.Clone(file.durable)
		file.durableShared = false
		file.durable[offset] ^= mask
	}
}
