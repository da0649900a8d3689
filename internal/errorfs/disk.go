// Package errorfs is a file system that fails on demand. It passes every call on to another
// file system, records it, and makes the calls fail that a rule names.
//
// What must hold: without a rule it behaves like the wrapped file system. A call fails as it
// would on Linux: the error is a *fs.PathError around an errno, and a failed write may have
// written a part. After a failed Datasync what was written stays visible and later syncs
// succeed, but a power cut loses it, if the wrapped files have a method LoseDirty.
//
// Closing, unlocking and unmapping cannot be made to fail, and are not counted: the scheduler
// decides which goroutine is the last to use a file, and when.
package errorfs

import (
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Kind is what a call does.
type Kind uint8

// The calls that are counted.
const (
	OpenDir Kind = iota + 1
	Mkdir
	Create
	Open // for writing too, or only for reading
	Rename
	Remove
	Names
	SyncDir
	Lock
	Read
	Write
	Size
	Truncate
	Allocate
	Datasync
	Map
	Identify
)

var kindNames = [...]string{
	OpenDir: "open directory", Mkdir: "mkdir", Create: "create", Open: "open", Rename: "rename",
	Remove: "remove", Names: "list", SyncDir: "sync directory", Lock: "lock", Read: "read", Write: "write",
	Size: "stat", Truncate: "truncate", Allocate: "allocate", Datasync: "sync", Map: "map", Identify: "identify",
}

// String returns the kind as errors name it.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return "unknown call"
	}
	return kindNames[k]
}

// Op is one call.
type Op struct {
	Kind   Kind   // which call
	Name   string // path of the file or directory; of Rename, the old one
	To     string // of Rename: the new path
	Offset int64  // of Read and Write
	Length int64  // of Read and Write: bytes; of Truncate, Allocate and Map: the size asked for
}

// String describes the call.
func (o Op) String() string {
	switch o.Kind {
	case Rename:
		return fmt.Sprintf("%v %s to %s", o.Kind, o.Name, o.To)
	case Read, Write:
		return fmt.Sprintf("%v %s at %d, %d bytes", o.Kind, o.Name, o.Offset, o.Length)
	case Truncate, Allocate, Map:
		return fmt.Sprintf("%v %s to %d", o.Kind, o.Name, o.Length)
	}
	return fmt.Sprintf("%v %s", o.Kind, o.Name)
}

// Rule defines which calls fail, and how.
type Rule struct {
	// Match selects the calls that the rule applies to; nil: all. The disk calls it once for
	// each call, in order. It must not use the disk.
	Match func(Op) bool
	// Nth is the first matching call to fail, counted from 1 since the rule was added; 0 counts
	// as 1.
	Nth int
	// Forever makes all matching calls fail from the Nth on, not only the Nth.
	Forever bool
	// Err is the errno, EIO or ENOSPC for instance.
	Err error
	// Short makes the Nth matching write succeed with half of its bytes, and the disk's next
	// write fail with Err. Matching calls other than writes do not count. A write of one byte
	// fails at once.
	Short bool
	// Through carries the call out and then returns the error. It is for calls that change
	// something other than a file's bytes.
	Through bool
}

// Disk is a file system that fails on demand.
type Disk struct {
	inner vfs.FS

	mu    sync.Mutex // guards the rest
	calls []Op
	fired int
	rules []*rule
}

type rule struct {
	Rule
	seen  int  // matching calls
	owing bool // a short write succeeded: the next one fails
}

// New wraps a file system.
func New(inner vfs.FS) *Disk { return &Disk{inner: inner} }

var _ vfs.FS = (*Disk)(nil)

// Fail adds a rule. When several rules apply to a call, the oldest decides, and the others
// count the call.
func (d *Disk) Fail(r Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Nth = max(r.Nth, 1)
	d.rules = append(d.rules, &rule{Rule: r})
}

// Heal removes all rules.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = nil
}

// Calls returns all calls so far, including those that failed.
func (d *Disk) Calls() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Count returns the number of calls so far.
func (d *Disk) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls)
}

// Fired returns how many calls the rules made fail or cut short.
func (d *Disk) Fired() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fired
}

// Only returns a Match for calls of the kinds.
func Only(kinds ...Kind) func(Op) bool {
	return func(o Op) bool { return slices.Contains(kinds, o.Kind) }
}

// fault is what happens to one call.
type fault struct {
	err     error // nil: nothing, or a short write
	short   bool
	through bool
}

// count records a call and applies the rules to it.
func (d *Disk) count(op Op) fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, op)
	var f fault
	for _, r := range d.rules {
		if g := r.ask(op); f == (fault{}) {
			f = g
		}
	}
	if f != (fault{}) {
		d.fired++
	}
	if f.err != nil {
		f.err = &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: f.err}
	}
	return f
}

func (r *rule) ask(op Op) fault {
	if r.owing && op.Kind == Write {
		r.owing = r.Forever
		return fault{err: r.Err}
	}
	if r.Short && op.Kind != Write || r.Match != nil && !r.Match(op) {
		return fault{}
	}
	r.seen++
	switch {
	case r.seen < r.Nth, r.seen > r.Nth && !r.Forever:
		return fault{}
	case r.Short && op.Length > 1:
		r.owing = true
		return fault{short: true}
	}
	return fault{err: r.Err, through: r.Through}
}

// run makes a call that either happens whole or not at all.
func (f fault) run(call func() error) error {
	if f.err != nil && !f.through {
		return f.err
	}
	if err := call(); err != nil {
		return err
	}
	return f.err
}

// OpenDir opens a directory.
func (d *Disk) OpenDir(path string) (vfs.Dir, error) {
	if f := d.count(Op{Kind: OpenDir, Name: path}); f.err != nil {
		return nil, f.err
	}
	inner, err := d.inner.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &dir{inner, d, path}, nil
}

// Mkdir makes a directory.
func (d *Disk) Mkdir(path string) error {
	return d.count(Op{Kind: Mkdir, Name: path}).run(func() error { return d.inner.Mkdir(path) })
}
