// Package failure says what an error means for the store: whether writing goes on, and
// whether data is damaged.
//
// What must hold:
//
//   - The first failure of a sync, and the first write error after which nobody knows
//     what the disk holds, stops writing for good. Every write from then on gets ErrFailed
//     with that first cause.
//   - An error that leaves the disk as it was, such as a full disk, stops nothing.
//   - Damage is an error that wraps ErrCorrupt, and of the type that package mmapkv
//     documents.
package failure

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
)

// The errors that users of the store tell apart. Package mmapkv documents them.
var (
	ErrClosed  = errors.New("mmapkv: store is closed")
	ErrCorrupt = errors.New("mmapkv: data is damaged")
	ErrVersion = errors.New("mmapkv: file format version is not supported")
	ErrFailed  = errors.New("mmapkv: store has stopped writing after a failure")
	ErrInvalid = errors.New("mmapkv: invalid argument")
	ErrLocked  = errors.New("mmapkv: store is in use by another opener")
)

// Corrupt makes the error that says where damage lies. Package mmapkv sets it, before
// anything runs, to make its CorruptError: the rooms below it cannot name that type.
var Corrupt = func(d Damage) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, d.File, d.Offset, d.Reason)
}

// Damage is one damaged place. It has the fields of mmapkv.CorruptError.
type Damage struct {
	File   string // name of the file in the store's directory
	Offset int64  // in bytes from the start of the file
	Reason string
}

// BadValue is the reason for damage that only a value's checksum shows.
const BadValue = "the value does not match its checksum"

// Unusable is the error of an Open that needs a file and cannot use it: damage, unless
// the system lacks something else, such as a descriptor.
func Unusable(name string, err error) error {
	var number errno.Errno
	if errors.As(err, &number) && number != errno.EIO {
		return err
	}
	return Refused(Damage{File: name, Reason: err.Error()})
}

// Refused is the error of an Open that damage makes impossible.
func Refused(d Damage) error {
	return fmt.Errorf("%w (nothing was changed; `mmapkv salvage FROM TO` brings what is readable into a new store)", Corrupt(d))
}

// Latch remembers the first failure for good. The syncer keeps it, since its own syncs
// can fail too.
type Latch struct {
	syncer *fsync.Syncer
	tell   func(error)
}

// NewLatch makes a Latch. It calls tell with the first cause at every failure, under any
// lock.
func NewLatch(syncer *fsync.Syncer, tell func(error)) *Latch { return &Latch{syncer, tell} }

// WriteError decides what an error on the writing side means. An I/O error, a file system
// that turned read-only, and any failure of a sync or a rename are final: nobody knows
// what the disk holds, and asking again proves nothing. WriteError latches those and
// returns ErrFailed. Others, such as a full disk or too many open files, leave the store
// as it was, and come back unchanged.
func (l *Latch) WriteError(err error) error {
	if errno.Final(err) || PublishFailed(err) {
		return l.SyncError(err)
	}
	return err
}

// SyncError latches the error of a sync, after which nothing is known.
func (l *Latch) SyncError(err error) error {
	l.syncer.Fail(err)
	l.tell(l.syncer.Err())
	return l.Err()
}

// Err is ErrFailed with its cause, nil while the store takes writes.
func (l *Latch) Err() error {
	if err := l.syncer.Err(); err != nil {
		return &latched{err}
	}
	return nil
}

// latched is how ErrFailed wraps the cause that stopped the store.
type latched struct{ cause error }

func (f *latched) Error() string   { return ErrFailed.Error() + ": " + f.cause.Error() }
func (f *latched) Unwrap() []error { return []error{ErrFailed, f.cause} }

// PublishFailed says whether publishing a file failed where it cannot be undone.
func PublishFailed(err error) bool {
	var publish *fsync.PublishError
	return errors.As(err, &publish) && (publish.Tried || publish.SyncFailed)
}
