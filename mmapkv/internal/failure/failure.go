// Package failure says what an error means for the store: whether it may go on writing, and
// whether data is damaged.
//
// What must hold:
//
//   - The first failure of a sync, or of a write after which nobody knows what the disk
//     holds, stops writing for good. From then on every write returns ErrFailed with that
//     first cause.
//   - An error that leaves the disk as it was, such as a full disk, stops nothing.
//   - The error for damage wraps ErrCorrupt, and has the type that package mmapkv documents.
package failure

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
)

// Errors that users of the store tell apart. Package mmapkv documents them.
var (
	ErrClosed  = errors.New("mmapkv: store is closed")
	ErrCorrupt = errors.New("mmapkv: data is damaged")
	ErrVersion = errors.New("mmapkv: file format version is not supported")
	ErrFailed  = errors.New("mmapkv: store has stopped writing after a failure")
	ErrInvalid = errors.New("mmapkv: invalid argument")
	ErrLocked  = errors.New("mmapkv: store is in use by another opener")
)

// Corrupt returns the error that says where damage lies. Package mmapkv sets it before main
// starts, so that it returns an mmapkv.CorruptError, a type that this package cannot name.
var Corrupt = func(d Damage) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, d.File, d.Offset, d.Reason)
}

// Damage is one damaged place. It has the fields of mmapkv.CorruptError.
type Damage struct {
	File   string // name of the file in the store's directory
	Offset int64  // in bytes from the start of the file
	Reason string // what is wrong there
}

// BadValue is the Reason for damage that only the checksum of a value shows.
const BadValue = "the value does not match its checksum"

// Unusable returns the error of an Open that needs a file and cannot use it because of err. It is
// damage, unless the system lacks something, such as a descriptor: then Unusable returns err.
func Unusable(name string, err error) error {
	var number errno.Errno
	if errors.As(err, &number) && number != errno.EIO {
		return err
	}
	return RefusedBy(Damage{File: name, Reason: err.Error()}, err)
}

// RefusedBy is Refused for damage that the system told of: the error also wraps cause, if that is
// not nil.
func RefusedBy(d Damage, cause error) error {
	if cause == nil {
		return Refused(d)
	}
	return &caused{Refused(d), cause}
}

// caused is an error that also wraps what the system said. Its text has that already.
type caused struct {
	error
	cause error
}

func (c *caused) Unwrap() []error { return []error{c.error, c.cause} }

// Refused returns the error of an Open that damage makes impossible. It wraps ErrCorrupt.
func Refused(d Damage) error {
	return fmt.Errorf("%w (nothing was changed; `mmapkv salvage FROM TO` copies what is readable to a new store)", Corrupt(d))
}

// Latch remembers the first failure for good. All methods may be called by any number of
// goroutines at once.
type Latch struct {
	syncer *fsync.Syncer // stores the failure, since its own syncs can fail too
	tell   func(error)
}

// NewLatch makes a Latch. At every failure it calls tell with the first cause, whatever locks
// the caller holds.
func NewLatch(syncer *fsync.Syncer, tell func(error)) *Latch { return &Latch{syncer, tell} }

// WriteError decides what the error of a write means. An I/O error, a file system that turned
// read-only, and any failure of a sync or a rename are final: nobody knows what the disk
// holds, and trying again proves nothing. WriteError latches those and returns an error that
// wraps ErrFailed. It returns the others unchanged, such as a full disk or too many open files:
// they leave the store as it was.
func (l *Latch) WriteError(err error) error {
	if errno.Final(err) || PublishFailed(err) {
		return l.SyncError(err)
	}
	return err
}

// SyncError latches the error of a sync, after which nobody knows what the disk holds. It returns
// an error that wraps ErrFailed.
func (l *Latch) SyncError(err error) error {
	l.syncer.Fail(err)
	l.tell(l.syncer.Err())
	return l.Err()
}

// Err returns an error that wraps ErrFailed and the first cause, or nil while the store takes
// writes.
func (l *Latch) Err() error {
	if err := l.syncer.Err(); err != nil {
		return &latched{err}
	}
	return nil
}

// latched is ErrFailed with the cause that stopped the store.
type latched struct{ cause error }

func (f *latched) Error() string   { return ErrFailed.Error() + ": " + f.cause.Error() }
func (f *latched) Unwrap() []error { return []error{ErrFailed, f.cause} }

// PublishFailed reports whether err is a failure to publish a file that cannot be undone.
func PublishFailed(err error) bool {
	var publish *fsync.PublishError
	return errors.As(err, &publish) && (publish.Tried || publish.SyncFailed)
}
