package mmapkv

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
)

// The errors of this package. Test for them with errors.Is: the returned errors wrap them and
// say more.
var (
	// ErrNotFound means that the key has no value, or that its value has expired.
	ErrNotFound = errors.New("mmapkv: key not found")
	// ErrClosed means that the store was closed before the call started.
	ErrClosed = failure.ErrClosed
	// ErrLocked means that another opener, in this process or another, has the store.
	ErrLocked = failure.ErrLocked
	// ErrReadOnly is returned by writes to a store that was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("mmapkv: store is open read-only")
	// ErrTooLarge means that a key, value or batch exceeds the limits.
	ErrTooLarge = errors.New("mmapkv: key, value or batch is too large")
	// ErrCorrupt means that bytes on disk are not what was written. Damage is never returned as
	// data, and never as "not found". The error of a read is, or wraps, a *CorruptError.
	ErrCorrupt = failure.ErrCorrupt
	// ErrVersion means that the files were written by a version that this one cannot read.
	ErrVersion = failure.ErrVersion
	// ErrFailed means that a sync or a write failed earlier, so nothing more is written until the
	// store is opened again. It wraps the first cause. Reads continue. The write that got it
	// first is in doubt: after the next Open it is there whole or not at all. Writes also get it
	// if the store's directory or files were removed under it.
	ErrFailed = failure.ErrFailed
	// ErrNamespace means that a namespace name is empty, too long, or would lead outside the
	// root.
	ErrNamespace = errors.New("mmapkv: invalid namespace")
	// ErrDone means that an Iterator or a Snapshot is used after its Close, a Tx after Commit or
	// Rollback, or an Iterator of a Snapshot or Tx after that has ended.
	ErrDone = errors.New("mmapkv: the iterator, snapshot or transaction has ended")
	// ErrConflict means that a Tx has not committed, since something that it had read has changed.
	// Nothing of it is visible, ever.
	ErrConflict = errors.New("mmapkv: what the transaction has read has changed")
	// ErrSnapshotTooOld means that a Snapshot was ended because files were kept for snapshots
	// beyond Options.SnapshotLimit, and it was the oldest.
	ErrSnapshotTooOld = errors.New("mmapkv: the snapshot is too old, and was ended to free its files")
	// ErrInvalid means that an argument or option makes no sense, such as a TTL that is not
	// positive.
	ErrInvalid = failure.ErrInvalid
)

// CorruptError says where damage lies. errors.Is(err, ErrCorrupt) holds for it.
type CorruptError struct {
	File   string // name of the file in the store's directory
	Offset int64  // in bytes from the start of the file
	// Reason is what is wrong with the bytes.
	Reason string
}

// Error names the file, the offset and the reason.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("mmapkv: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

func init() {
	failure.Corrupt = func(d failure.Damage) error { return (*CorruptError)(&d) }
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
