// Package transcript is a file system that records every call with its arguments and results.
// It is a test disk: it passes each call on to another file system and changes nothing.
//
// What must hold:
//
//   - Every call of a vfs method is a line of the transcript, in the order in which the calls
//     returned: kind, path, offset, length, a hash of the bytes, result. Two runs with the same
//     sum made the same calls and got the same answers.
//   - A line holds nothing that differs between equal runs: no address, no time, no descriptor
//     number. Nor does it hold wording that may be improved some day: of an error it has only
//     the errno.
//   - No wrapper embeds what it wraps, so a new method of vfs does not compile until it is
//     recorded.
//
// Access to mapped memory is not a call. Advice (vfs.Populate and the like) ends here, since
// only the real disk takes it.
package transcript

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"sync"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Transcript records the calls of one run, on any number of disks. It and its disks are safe
// for concurrent use.
type Transcript struct {
	to io.Writer // nil: only the sum is kept

	mu    sync.Mutex // guards the rest, and serializes writing to `to`
	sum   hash.Hash
	calls int
	line  []byte
	err   error // the first error of `to`
}

// New begins a transcript. It writes its lines to the writer, unless that is nil.
func New(to io.Writer) *Transcript { return &Transcript{to: to, sum: sha256.New()} }

// Of wraps a file system.
func (t *Transcript) Of(inner vfs.FS) vfs.FS { return &disk{inner, t} }

// Note adds a line that is not a call, for instance what the test does next.
func (t *Transcript) Note(format string, args ...any) { t.add(0, format, args...) }

// Calls returns the number of calls so far.
func (t *Transcript) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls
}

// Sum returns the hash of all lines so far, as 16 hexadecimal digits.
func (t *Transcript) Sum() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return short(t.sum.Sum(nil))
}

// Err returns the first error of the writer.
func (t *Transcript) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// call adds the line of a call. The format has the arguments and results, except the error.
func (t *Transcript) call(err error, format string, args ...any) {
	if err != nil {
		format += ": " + cause(err)
	}
	t.add(1, format, args...)
}

// cause returns what the system says about an error, without what a disk adds.
func cause(err error) string {
	var number errno.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case err == io.EOF:
		return "end of file"
	case errors.Is(err, vfs.ErrLocked):
		return "locked"
	}
	return "an error"
}

func (t *Transcript) add(calls int, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls += calls
	t.line = append(fmt.Appendf(t.line[:0], format, args...), '\n')
	t.sum.Write(t.line)
	if t.to != nil && t.err == nil {
		_, t.err = t.to.Write(t.line)
	}
}

// content stands for bytes in a line.
func content(p []byte) string {
	sum := sha256.Sum256(p)
	return short(sum[:])
}

func short(sum []byte) string { return hex.EncodeToString(sum[:8]) }

// disk is a wrapped file system.
type disk struct {
	inner vfs.FS
	t     *Transcript
}

func (d *disk) OpenDir(name string) (vfs.Dir, error) {
	inner, err := d.inner.OpenDir(name)
	d.t.call(err, "open directory %s", name)
	if err != nil {
		return nil, err
	}
	return &dir{inner, d.t, name}, nil
}

func (d *disk) Mkdir(name string) error {
	err := d.inner.Mkdir(name)
	d.t.call(err, "mkdir %s", name)
	return err
}

// dir is an open directory.
type dir struct {
	inner vfs.Dir
	t     *Transcript
	path  string
}

func (d *dir) join(name string) string { return path.Join(d.path, name) }

func (d *dir) Create(name string) (vfs.File, error) { return d.open("create", name, d.inner.Create) }

func (d *dir) Open(name string) (vfs.File, error) { return d.open("open", name, d.inner.Open) }

func (d *dir) OpenReadOnly(name string) (vfs.File, error) {
	return d.open("open read-only", name, d.inner.OpenReadOnly)
}

func (d *dir) open(how, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	inner, err := open(name)
	d.t.call(err, "%s %s", how, d.join(name))
	if err != nil {
		return nil, err
	}
	return &file{inner, d.t, d.join(name)}, nil
}

func (d *dir) Rename(oldName, newName string) error {
	err := d.inner.Rename(oldName, newName)
	d.t.call(err, "rename %s to %s", d.join(oldName), d.join(newName))
	return err
}

func (d *dir) Remove(name string) error {
	err := d.inner.Remove(name)
	d.t.call(err, "remove %s", d.join(name))
	return err
}

func (d *dir) Names() ([]string, error) {
	names, err := d.inner.Names()
	d.t.call(err, "list %s = %q", d.path, names)
	return names, err
}

// Stamp is not recorded: how often a store checks its directory is not part of what it does to
// its files.
func (d *dir) Stamp() (vfs.Stamp, error) { return vfs.StampOf(d.inner) }

func (d *dir) Identity(name string) (vfs.Identity, error) {
	id, err := vfs.IdentityOf(d.inner, name)
	d.t.call(err, "identity of %s", d.join(name))
	return id, err
}

func (d *dir) Sync() error {
	err := d.inner.Sync()
	d.t.call(err, "sync directory %s", d.path)
	return err
}

func (d *dir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	inner, err := d.inner.Lock(name, mode)
	d.t.call(err, "lock %s, shared %v", d.join(name), mode == vfs.Shared)
	if err != nil {
		return nil, err
	}
	return &lock{inner, d.t, d.join(name)}, nil
}

func (d *dir) Close() error {
	err := d.inner.Close()
	d.t.call(err, "close directory %s", d.path)
	return err
}

// lock is a held lock.
type lock struct {
	inner vfs.Lock
	t     *Transcript
	path  string
}

func (l *lock) Unlock() error {
	err := l.inner.Unlock()
	l.t.call(err, "unlock %s", l.path)
	return err
}
