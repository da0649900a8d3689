// Package crashfs is an in-memory file system that loses unsynced changes when its power is
// cut. It is a test disk: it starts no goroutine, reads no clock, and does the same for the
// same calls.
//
// What must hold:
//
//   - What Datasync and Dir.Sync made durable is in every state that PowerCut returns. Of later
//     changes any part may be missing and any part may be there. Nothing appears that was never
//     written: below the largest length that was ever durable, only a pending change can alter
//     a byte.
//   - A rename is there or not. If a change of a name is there, so are all earlier changes of
//     that name.
//   - Disks share nothing mutable: old handles, mappings and locks cannot reach the disks that
//     Clone, Kill and PowerCut return.
//
// Three things are simpler than on a real disk. The space of a removed file is free at once,
// even while the file is open, so that equal runs make equal calls. A file takes space up to
// its last written or allocated byte, holes included. What LoseDirty lost stays lost, although
// a later write beside it would make a kernel write the whole page again.
package crashfs

import (
	"errors"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// ErrPowerOff is the error of every call once the power is off.
var ErrPowerOff = errors.New("crashfs: the power is off")

// Unlimited is the capacity of a new disk.
const Unlimited = math.MaxInt64

// Disk is an in-memory file system. It begins with one directory, "/". Relative paths start
// there too.
type Disk struct {
	// OnCall, if not nil, runs before each call that changes the disk takes effect. It gets the
	// number of the call, from 1. It may use the disk: take a PowerCut or a Kill, or switch the
	// disk off with PowerOff, which makes the call fail. Set it while no call runs.
	OnCall func(n int, op Op)

	mu       sync.Mutex // guards everything below and what it points to
	nodes    []node     // by number; zero where nothing leads to the node any more
	capacity int64
	used     int64 // allocated bytes of all files that have a name
	held     int   // open directories and files, mappings and locks

	calls   int
	log     []Entry
	off     bool
	stopAt  int // the call that switches the power off; 0: none
	partial int // how many bytes that call still writes; negative: it does nothing
}

// node is a file or a directory.
type node struct {
	file *inode
	dir  *directory
}

// root is the number of the node of "/".
const root = 0

// New returns an empty disk.
func New() *Disk {
	return &Disk{capacity: Unlimited, nodes: []node{{dir: &directory{}}}}
}

var _ vfs.FS = (*Disk)(nil)

// Calls returns the number of calls that change the disk so far, which is the number of the
// latest.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// Log returns the calls so far that changed the disk, or would have if they had not failed.
func (d *Disk) Log() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

// StopAt switches the power off before the n-th call that changes the disk. That call and every
// later call, of any kind, does nothing and fails with ErrPowerOff.
func (d *Disk) StopAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt, d.partial = n, -1
}

// StopDuring switches the power off in the middle of the n-th call that changes the disk. The
// call fails like all later ones, but it has done its work, so PowerCut may keep any part of
// it. A write has written at most the given number of its bytes. A sync has synced nothing.
func (d *Disk) StopDuring(n, written int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt, d.partial = n, max(written, 0)
}

// PowerOff switches the power off now.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

// SetCapacity limits the bytes that all files together may allocate. It frees nothing that
// already exceeds the limit.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used returns how many bytes of the capacity are allocated.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// Held returns how many directories, files, mappings and locks are open: 0 when all were
// released.
func (d *Disk) Held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held
}

// Kill returns the disk as a new process sees it after the process that used this disk was
// killed: everything it wrote is there, nothing more is synced, its locks are gone. The old
// disk and its handles keep working, independently of the new one.
func (d *Disk) Kill() *Disk { return d.Clone() }

// Clone copies the disk and its pending changes. Handles, mappings and locks stay with the old
// disk. The copy has its power on and has seen no calls.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copied := &Disk{capacity: d.capacity, used: d.used, nodes: make([]node, len(d.nodes))}
	for i, n := range d.nodes {
		switch {
		case n.file != nil:
			copied.nodes[i].file = n.file.clone()
		case n.dir != nil:
			copied.nodes[i].dir = n.dir.clone()
		}
	}
	return copied
}

// change runs a call that changes the disk: it numbers, announces and logs the call. Once the
// power is off it does none of this.
func (d *Disk) change(op Op, content uint64, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return ErrPowerOff
	}
	d.calls++
	n := d.calls
	if d.OnCall != nil {
		d.announceLocked(n, op)
		if d.off {
			return ErrPowerOff
		}
	}
	if d.stopAt != 0 && n >= d.stopAt {
		d.off = true
		if d.partial < 0 || op.Kind == Datasync || op.Kind == SyncDir {
			return ErrPowerOff
		}
	}
	d.logLocked(op, content)
	err := do()
	if d.off {
		return ErrPowerOff
	}
	return err
}

// announceLocked calls OnCall without the lock, and takes the lock again however OnCall ends.
// The rank checks treat what OnCall does as if the goroutine held no lock.
func (d *Disk) announceLocked(n int, op Op) {
	d.mu.Unlock()
	defer d.mu.Lock()
	rank.Unheld(func() { d.OnCall(n, op) })
}

// look runs a call that changes nothing.
func (d *Disk) look(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return ErrPowerOff
	}
	return do()
}

// OpenDir opens a directory.
func (d *Disk) OpenDir(name string) (vfs.Dir, error) {
	h := &dirHandle{disk: d, path: clean(name)}
	err := d.look(func() error {
		n, err := d.findLocked(h.path)
		switch {
		case err != nil:
			return err
		case n.dir == nil:
			return syscall.ENOTDIR
		}
		h.dir = n.dir
		d.held++
		return nil
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open directory", Path: name, Err: err}
	}
	return h, nil
}

// Mkdir makes a directory in an existing one.
func (d *Disk) Mkdir(name string) error {
	full := clean(name)
	err := d.change(Op{Kind: Mkdir, Name: full}, 0, func() error {
		parent, err := d.findLocked(path.Dir(full))
		switch {
		case err != nil:
			return err
		case parent.dir == nil:
			return syscall.ENOTDIR
		case full == "/":
			return syscall.EEXIST
		}
		base := path.Base(full)
		if _, taken := parent.dir.find(base); taken {
			return syscall.EEXIST
		}
		number := d.addLocked(node{dir: &directory{}})
		parent.dir.change(entryChange{kind: addEntry, name: base, node: number})
		return nil
	})
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

func clean(name string) string { return path.Clean("/" + name) }

// addLocked takes a node into the table and returns its number.
func (d *Disk) addLocked(n node) int {
	d.nodes = append(d.nodes, n)
	return len(d.nodes) - 1
}

// findLocked returns the node at a clean path.
func (d *Disk) findLocked(full string) (node, error) {
	n := d.nodes[root]
	for name := range strings.SplitSeq(strings.TrimPrefix(full, "/"), "/") {
		if name == "" {
			break
		}
		if n.dir == nil {
			return node{}, syscall.ENOTDIR
		}
		number, ok := n.dir.find(name)
		if !ok {
			return node{}, syscall.ENOENT
		}
		n = d.nodes[number]
	}
	return n, nil
}
