package mmapkv

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
)

// Limits of what can be stored, in bytes. More is ErrTooLarge.
const (
	MaxKeySize   = 65_535
	MaxValueSize = 4_294_967_295
	// MaxBatchSize is the limit of a batch as it is written: keys, values, a
	// header of 24 to 32 bytes for each, and the header of its segment.
	MaxBatchSize = 4 << 30
)

const (
	defaultSegmentSize = 256 << 20
	minSegmentSize     = 4 << 10
	maxSegmentSize     = 4 << 30
)

// Options says how a store is opened. The zero value means the defaults; Open
// copies it and never writes to the caller's.
type Options struct {
	// SegmentSize is the size in bytes at which the log goes on in a new file,
	// 4 KiB to 4 GiB; 0 means 256 MiB. It may differ from one Open to the next.
	SegmentSize int64
	// Sync says when writes reach the disk; the zero value is
	// fsync.Every(200 * time.Millisecond).
	Sync fsync.Policy
	// ReadOnly opens without changing anything. Many readers may have the store
	// open together, but none beside a writer. Writes return ErrReadOnly.
	ReadOnly bool
	// LockTimeout is how long Open waits for another opener to close; 0 means
	// not at all.
	LockTimeout time.Duration
	// SkipReadChecksum leaves out the check of the value's checksum on reads.
	// The record's header and key are checked all the same. Damage in a value
	// then goes unnoticed.
	SkipReadChecksum bool
	// ExpectedKeys sizes the index up front; 0 lets it grow.
	ExpectedKeys int
	// Logger gets what an operator wants to know: recovery, damage, failure.
	// nil: silent.
	Logger *slog.Logger

	seams *inject.Seams
}

func init() {
	inject.Register(func(options any, s *inject.Seams) { options.(*Options).seams = s })
}

// withDefaults is the checked copy of o that a store keeps.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = defaultSegmentSize
	}
	if c.SegmentSize < minSegmentSize || c.SegmentSize > maxSegmentSize {
		return c, fmt.Errorf("%w: Options.SegmentSize is %d bytes; it must be between %d and %d",
			ErrInvalid, c.SegmentSize, minSegmentSize, int64(maxSegmentSize))
	}
	if c.LockTimeout < 0 {
		return c, fmt.Errorf("%w: Options.LockTimeout is %v; it must not be negative", ErrInvalid, c.LockTimeout)
	}
	if c.ExpectedKeys < 0 {
		return c, fmt.Errorf("%w: Options.ExpectedKeys is %d; it must not be negative", ErrInvalid, c.ExpectedKeys)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
