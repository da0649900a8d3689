// Package faulty makes any vfs.FS fail at a chosen call, the way the operating
// system fails. It is for tests; without a fault it only counts and traces.
package faulty

import (
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Fault says how a call fails.
type Fault struct {
	// Errno is what the call returns; 0 stands for EIO, and with Short for
	// ENOSPC. A WriteAt that fails with EIO has written its first half. A
	// Datasync that fails has lost what was not synced before, if the inner
	// file has a method LoseDirty. Close, Unlock and Unmap do their work and
	// fail then.
	Errno syscall.Errno
	// Short lets a WriteAt write its first half only and return nil; the next
	// WriteAt fails with ENOSPC. Other calls, and a WriteAt of less than two
	// bytes, fail with Errno at once.
	Short bool
}

// Kind names a call: "Dir.Sync", "File.WriteAt".
type Kind string

const (
	OpenDir         Kind = "FS.OpenDir"
	Mkdir           Kind = "FS.Mkdir"
	DirCreate       Kind = "Dir.Create"
	DirOpen         Kind = "Dir.Open"
	DirOpenReadOnly Kind = "Dir.OpenReadOnly"
	DirRename       Kind = "Dir.Rename"
	DirRemove       Kind = "Dir.Remove"
	DirNames        Kind = "Dir.Names"
	DirSync         Kind = "Dir.Sync"
	DirLock         Kind = "Dir.Lock"
	DirClose        Kind = "Dir.Close"
	FileReadAt      Kind = "File.ReadAt"
	FileWriteAt     Kind = "File.WriteAt"
	FileSize        Kind = "File.Size"
	FileTruncate    Kind = "File.Truncate"
	FileAllocate    Kind = "File.Allocate"
	FileDatasync    Kind = "File.Datasync"
	FileMap         Kind = "File.Map"
	FileClose       Kind = "File.Close"
	MappingUnmap    Kind = "Mapping.Unmap"
	LockUnlock      Kind = "Lock.Unlock"
)

// What Disk.callsTo says.
const (
	neverFails       = 0
	firstCallOfFault = 1
)

// Op is one call.
type Op struct {
	Kind Kind
	Name string // of the file, bare; of the directory, its path, where no file is named
}

// Disk passes every call on to another vfs.FS, but for those that fail. Its
// methods may be called by several goroutines.
type Disk struct {
	// Only limits which calls Fail counts and hits; nil means all. Set it before
	// the disk is used. It must not call the disk.
	Only func(Op) bool

	inner vfs.FS

	mu       sync.Mutex
	trace    []Op
	fault    Fault
	forever  bool
	callsTo  int  // counts down; the fault hits at firstCallOfFault
	halfDone bool // a short write went through, so the next one fails
	fired    int
}

var _ vfs.FS = (*Disk)(nil)

// New wraps a file system; nothing fails yet.
func New(inner vfs.FS) *Disk { return &Disk{inner: inner} }

// Fail makes the n-th call from now fail, counted from 1 among those that Only
// lets through, and with forever all after it too. It replaces the fault of an
// earlier Fail; n = 0 ends all failing.
func (d *Disk) Fail(n int, fault Fault, forever bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.callsTo, d.fault, d.forever = max(n, neverFails), fault, forever
	d.halfDone = false
	d.fired = 0
}

// Fired counts the calls that failed or fell short since the last Fail.
func (d *Disk) Fired() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fired
}

// Calls counts all calls.
func (d *Disk) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.trace)
}

// Trace returns all calls in order.
func (d *Disk) Trace() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.trace)
}

// OpenDir implements vfs.FS.
func (d *Disk) OpenDir(path string) (vfs.Dir, error) {
	if err := d.call(OpenDir, path); err != nil {
		return nil, err
	}
	inner, err := d.inner.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &dir{disk: d, inner: inner, path: path}, nil
}

// Mkdir implements vfs.FS.
func (d *Disk) Mkdir(path string) error {
	if err := d.call(Mkdir, path); err != nil {
		return err
	}
	return d.inner.Mkdir(path)
}

type verdict int

const (
	pass verdict = iota
	short
	fail
)

// call records a call that is no WriteAt and returns its error, if it is to
// fail.
func (d *Disk) call(kind Kind, name string) error {
	v, errno := d.judge(Op{kind, name}, false)
	if v == pass {
		return nil
	}
	return pathError(Op{kind, name}, errno)
}

// judge records a call and decides about it; canBeShort says that it is a
// WriteAt with something to halve.
func (d *Disk) judge(op Op, canBeShort bool) (verdict, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trace = append(d.trace, op)
	if d.Only != nil && !d.Only(op) {
		return pass, 0
	}
	if d.halfDone && op.Kind == FileWriteAt {
		d.halfDone = d.forever
		d.fired++
		return fail, syscall.ENOSPC
	}
	if d.callsTo == neverFails {
		return pass, 0
	}
	if d.callsTo > firstCallOfFault {
		d.callsTo--
		return pass, 0
	}
	if !d.forever {
		d.callsTo = neverFails
	}
	d.fired++
	if d.fault.Short && canBeShort {
		d.halfDone = true
		return short, 0
	}
	return fail, d.fault.errno()
}

func (f Fault) errno() syscall.Errno {
	switch {
	case f.Errno != 0:
		return f.Errno
	case f.Short:
		return syscall.ENOSPC
	}
	return syscall.EIO
}

func pathError(op Op, errno syscall.Errno) error {
	return &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: errno}
}
