package mmapkv

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
)

// The errors of this package. Test for them with errors.Is: what is returned
// wraps them and says more.
var (
	// ErrNotFound: the key has no value, or the one it had has expired.
	ErrNotFound = errors.New("mmapkv: key not found")
	// ErrClosed: the store was closed before the call started.
	ErrClosed = failure.ErrClosed
	// ErrLocked: another opener, in this process or another one, has the store.
	ErrLocked = failure.ErrLocked
	// ErrReadOnly: a write to a store that was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("mmapkv: store is open read-only")
	// ErrTooLarge: a key, value or batch over the limits.
	ErrTooLarge = errors.New("mmapkv: key, value or batch is too large")
	// ErrCorrupt: bytes on disk are not what was written. Never transient data
	// and never "not found"; the error of a read is, or wraps, a *CorruptError.
	ErrCorrupt = failure.ErrCorrupt
	// ErrVersion: the files were written by a version this one cannot read.
	ErrVersion = failure.ErrVersion
	// ErrFailed: a sync or a write failed earlier, so nothing more is written
	// until the store is opened again; it wraps the first cause. Reads go on. The
	// write that got it first is in doubt: after the next Open it is there whole
	// or not at all. It is also what writes get when the store's directory or files
	// were removed under it.
	ErrFailed = failure.ErrFailed
	// ErrNamespace: a namespace name that is empty, too long, or would lead
	// outside the root.
	ErrNamespace = errors.New("mmapkv: invalid namespace")
	// ErrInvalid: an argument or option that makes no sense, such as a TTL
	// that is not positive.
	ErrInvalid = failure.ErrInvalid
)

// CorruptError says where damage lies. errors.Is(err, ErrCorrupt) holds.
type CorruptError struct {
	File   string // name of the file in the store's directory
	Offset int64  // in bytes from the start of the file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("mmapkv: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

func init() {
	failure.Corrupt = func(d failure.Damage) error { return (*CorruptError)(&d) }
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
