// Package crashfs is a file system in memory that forgets, when its power is
// cut, what was not synced. It is a test disk: it starts no goroutine, asks no
// clock, and does the same for the same calls.
//
// What must hold:
//
//   - What Datasync and Dir.Sync made durable is in every state that PowerCut
//     returns. Of what changed since, any part may be missing and any part may
//     be there, but nothing that nobody wrote: below what was ever durable a
//     byte changes only by a change that was pending.
//   - A rename is there or not; of one name, later changes are not there
//     without the earlier ones.
//   - Disks do not share what can change: Clone, Kill and PowerCut return disks
//     that old handles, mappings and locks cannot reach.
//
// Three things are simpler than life. So that equal runs make equal calls, the
// space of a removed file is free at once, though somebody may have it open. The
// room a file takes is counted up to its last written or allocated byte, holes
// included. And what LoseDirty lost stays lost, though a later write beside it
// would have had the kernel write the whole page again.
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

// ErrPowerOff is what every call returns once the power is off.
var ErrPowerOff = errors.New("crashfs: the power is off")

// Unlimited is the capacity of a new disk.
const Unlimited = math.MaxInt64

// Disk is a file system in memory with one directory, "/", to begin with.
// Relative paths start there too.
type Disk struct {
	// OnCall, if not nil, is called before each call that changes the disk
	// takes effect, with the number of the call, from 1. It may use the disk:
	// take a PowerCut or a Kill of it, or switch it off with PowerOff, and the
	// call fails. Set it while no call runs.
	OnCall func(n int, op Op)

	mu       sync.Mutex // guards everything below and all that hangs on it
	nodes    []node     // by number; empty where nothing leads any more
	capacity int64
	used     int64 // allocated bytes of all files that have a name
	held     int   // open directories and files, mappings and locks

	calls   int
	log     []Entry
	off     bool
	stopAt  int // the call that ends it; 0: none
	partial int // how many bytes that call still writes; negative: it does nothing
}

// node is a file or a directory.
type node struct {
	file *inode
	dir  *directory
}

// root is the number of the node of "/".
const root = 0

// New makes an empty disk.
func New() *Disk {
	return &Disk{capacity: Unlimited, nodes: []node{{dir: &directory{}}}}
}

var _ vfs.FS = (*Disk)(nil)

// Calls is how many calls that change the disk there were: the number of the
// latest.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// Log is the calls so far that changed the disk, or would have but for an error.
func (d *Disk) Log() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

// StopAt switches the power off before the n-th call that changes the disk: it
// and every call after it, of any kind, fails with ErrPowerOff and does nothing.
func (d *Disk) StopAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt, d.partial = n, -1
}

// StopDuring switches the power off within the n-th call. It fails like all
// after it, but has done its work, so that PowerCut may keep any part of it: a
// write has written that many of its bytes at most, a sync has synced nothing.
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

// SetCapacity limits the bytes that all files together may have allocated. What
// is more than that already stays.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used is how many bytes of the capacity are taken.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// Held is how many directories, files, mappings and locks are open: 0 when
// everybody has cleaned up.
func (d *Disk) Held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held
}

// Kill is the disk as a new process sees it after the one that used this disk
// was killed: all it wrote is there, nothing more is synced, its locks are gone.
// The old disk and its handles go on working, for themselves.
func (d *Disk) Kill() *Disk { return d.Clone() }

// Clone copies the disk with what is pending on it. Handles, mappings and locks
// stay with the old one; the copy has its power on, and no calls yet.
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

// change runs a call that changes the disk: numbered, announced, logged, and not
// at all once the power is off.
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

// announceLocked calls the hook without the lock, and has it again however the
// hook ends. What it calls of a store is as if nobody was in the middle of a call.
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

// findLocked finds what a clean path leads to.
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
