// Package forgetful is a disk in memory that keeps after a power cut only what
// was synced, and of the rest whatever a test chooses.
//
// It implements vfs.FS for tests. Nothing in it depends on time, on addresses or
// on the order of a map: two runs that make the same calls get the same answers.
//
// Simplifications, all on the harsh or the harmless side: pending writes arrive
// or get lost in pieces cut at sector boundaries, each piece for itself even
// where several share a sector; the room a file takes is its length, holes
// included; a removed file gives its room back at once, also while it is open.
package forgetful

import (
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// ErrPowerOff is what every state-changing call returns from the moment that
// StopAfter or StopInside has named. It is an EIO too.
var ErrPowerOff = fmt.Errorf("forgetful: the power is off: %w", syscall.EIO)

const (
	sectorSize   = 512
	maxFileSize  = 1 << 31
	unlimited    = -1
	rootPath     = "/"
	notArmed     = 0
	firstLogHash = 0x9e3779b97f4a7c15
)

// Disk is one file system. Paths are absolute; a relative one starts at the
// root, which always exists. Its methods may be called by several goroutines.
type Disk struct {
	// OnCall, if not nil, is called before every state-changing call, which it
	// gets the number of. It may copy and cut the disk, and must not change it.
	OnCall func(call int)

	mu       sync.Mutex
	root     *directory
	capacity int64
	used     int64

	calls      int
	stopAtCall int
	stopInside bool
	off        bool

	log     []Op
	logHash uint64
}

var _ vfs.FS = (*Disk)(nil)

// New returns an empty disk without a limit.
func New() *Disk {
	return &Disk{root: &directory{}, capacity: unlimited, logHash: firstLogHash}
}

// StopAfter turns the power off at the n-th state-changing call from now: it and
// every state-changing call after it fail and do nothing. Reading goes on.
// StopAfter(0) turns the power on again.
func (d *Disk) StopAfter(n int) { d.stop(n, false) }

// StopInside is StopAfter, but when the n-th call is a WriteAt, its bytes up to
// some sector boundary are written (and not synced) before the power goes.
func (d *Disk) StopInside(n int) { d.stop(n, true) }

func (d *Disk) stop(n int, inside bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = false
	d.stopInside = inside
	d.stopAtCall = notArmed
	if n > 0 {
		d.stopAtCall = d.calls + n
	}
}

// Calls counts the state-changing calls that were made with the power on, the
// one that met the end of it included.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// SetCapacity limits the sum of all file lengths; a negative number lifts the
// limit.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// OpenDir implements vfs.FS.
func (d *Disk) OpenDir(name string) (vfs.Dir, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	found, errno := d.directoryAt(name)
	if errno != 0 {
		return nil, pathError("open", name, errno)
	}
	return &Dir{disk: d, directory: found, path: name}, nil
}

// Mkdir implements vfs.FS.
func (d *Disk) Mkdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	if err := d.changeLocked("mkdir", name); err != nil {
		return err
	}
	parent, errno := d.directoryAt(path.Dir(name))
	if errno != 0 {
		return pathError("mkdir", name, errno)
	}
	base := path.Base(name)
	if name == rootPath || parent.current.has(base) {
		return pathError("mkdir", name, syscall.EEXIST)
	}
	parent.change(entryOp{kind: entrySet, name: base, node: node{dir: &directory{}}})
	d.recordLocked(Op{Kind: Mkdir, Name: name})
	return nil
}

// changeLocked counts one state-changing call and refuses it when the power is
// off. Every such call asks here before it does anything else.
func (d *Disk) changeLocked(operation, name string) error {
	if d.off {
		return pathError(operation, name, ErrPowerOff)
	}
	d.calls++
	if d.OnCall != nil {
		d.announceLocked()
	}
	if d.calls == d.stopAtCall {
		d.off = true
		return pathError(operation, name, ErrPowerOff)
	}
	return nil
}

// announceLocked calls the hook without the lock.
func (d *Disk) announceLocked() {
	call := d.calls
	d.mu.Unlock()
	defer d.mu.Lock()
	d.OnCall(call)
}

// roomLocked is how many bytes files may still grow by.
func (d *Disk) roomLocked() int64 {
	if d.capacity < 0 {
		return 1 << 62
	}
	return max(0, d.capacity-d.used)
}

func (d *Disk) directoryAt(name string) (*directory, syscall.Errno) {
	found, errno := d.nodeAt(name)
	if errno != 0 {
		return nil, errno
	}
	if found.dir == nil {
		return nil, syscall.ENOTDIR
	}
	return found.dir, 0
}

// nodeAt follows a cleaned path from the root.
func (d *Disk) nodeAt(name string) (node, syscall.Errno) {
	at := node{dir: d.root}
	for rest := name[1:]; rest != ""; {
		if at.dir == nil {
			return node{}, syscall.ENOTDIR
		}
		var step string
		step, rest = cutPath(rest)
		next, ok := at.dir.current.get(step)
		if !ok {
			return node{}, syscall.ENOENT
		}
		at = next
	}
	return at, 0
}

func cutPath(name string) (first, rest string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func clean(name string) string { return path.Clean(rootPath + name) }

func pathError(operation, name string, cause error) error {
	return &fs.PathError{Op: operation, Path: name, Err: cause}
}
