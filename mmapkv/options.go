package mmapkv

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
)

// Limits of what can be stored, in bytes. Writes beyond them return ErrTooLarge.
const (
	// MaxKeySize is the maximum size of a key.
	MaxKeySize = 65_535
	// MaxValueSize is the maximum size of a value.
	MaxValueSize = 4_294_967_295
	// MaxBatchSize is the maximum size of a batch as it is written: keys, values, a header of
	// 24 to 32 bytes for each, and the header of its segment.
	MaxBatchSize = 4 << 30
)

const (
	defaultSegmentSize = 256 << 20
	minSegmentSize     = 4 << 10
	maxSegmentSize     = 4 << 30
	maxExpectedKeys    = 1 << 36
)

// Options configures a store. The zero value means the defaults. Open copies it and never writes
// to the caller's.
type Options struct {
	// SegmentSize is the size in bytes at which the log continues in a new file, 4 KiB to 4 GiB;
	// 0 means 256 MiB. It may differ from one Open to the next.
	SegmentSize int64
	// Sync says when writes reach the disk. The zero value is fsync.Every(200 *
	// time.Millisecond).
	Sync fsync.Policy
	// ReadOnly opens the store without changing anything. Many readers may have the store open at
	// once, but not together with a writer. Writes return ErrReadOnly, and Open returns
	// fs.ErrNotExist if there is no store. After a crash, until a writer has recovered the store,
	// readers may see what a power loss can still take.
	ReadOnly bool
	// LockTimeout is how long Open waits for another opener to close the store; 0 means not at
	// all.
	LockTimeout time.Duration
	// SkipReadChecksum makes reads skip the value's checksum. They still check the record's
	// header and key. Damage in a value then goes unnoticed.
	SkipReadChecksum bool
	// Preload makes Open read all segments into memory, as far as they fit, before it returns.
	Preload bool
	// LockMemory keeps the segments in memory (mlock2) from when they are first read or written,
	// or with Preload from Open on, so that no later read waits for the disk. If the system
	// refuses to, as RLIMIT_MEMLOCK may tell it, or has no such call, Open fails. If it refuses
	// for a segment that is made later, that segment stays unlocked, and the Logger gets a
	// message.
	LockMemory bool
	// ExpectedKeys sizes the index up front, up to 2^36 keys. Open takes the memory for them,
	// some 30 bytes each. 0 lets the index grow.
	ExpectedKeys int
	// Compaction says when garbage is reclaimed in the background.
	Compaction Compaction
	// ScrubBytesPerSecond makes the background read all sealed segments, one after another, again
	// and again, at most this many bytes a second; 0 turns it off. So damage is found before
	// somebody needs the value, and reported by Events.CorruptionFound and Stats.Scrub. The scrub
	// reads by system calls, and leaves the page cache about as it was. A ReadOnly store scrubs
	// too.
	ScrubBytesPerSecond int64
	// SnapshotLimit is how many bytes of segments that compaction has replaced open snapshots may keep
	// together; 0 means no limit. The store looks once a second, and after each Compact. Beyond the
	// limit it ends the oldest snapshots: their reads and iterators then return ErrSnapshotTooOld.
	SnapshotLimit int64
	// Events are called when something happens that an operator wants to know.
	Events Events
	// Logger gets what an operator wants to know: recovery, damage, failure. It is called as
	// Events are, so also after Open and Close, and never under a lock. If it is nil, nothing is
	// logged.
	Logger *slog.Logger

	seams *inject.Seams
}

// Compaction says when and how fast the background reclaims the space of overwritten, deleted and
// expired records. The zero value means the defaults.
type Compaction struct {
	// Disabled leaves compaction to Store.Compact. Nothing bounds the space then.
	Disabled bool
	// GarbageRatio is the fraction of a segment that must be garbage before the segment is
	// rewritten, above 0 and at most 1; 0 means 0.5. Segments with less garbage are rewritten too
	// when the whole store comes near MaxSpaceRatio.
	GarbageRatio float64
	// MaxSpaceRatio bounds the space that the store takes on disk: this many times the live bytes
	// (Stats.LiveBytes), plus two segments or 2 MiB, whichever is more. Nothing bounds it until the
	// index is full, see Store.Ready. It is more than 1; 0
	// means 2. Writers wait rather than exceed it, see Stats.WriteStall, unless compaction can do
	// nothing about it. Deleted segments that reads still use do not count, see Stats.HeldBytes.
	MaxSpaceRatio float64
	// BytesPerSecond limits what compaction reads and writes together; 0 means as fast as it can
	// beside reads and writes. With a low limit writers wait longer.
	BytesPerSecond int64
}

func init() {
	inject.Register(func(options any, s *inject.Seams) {
		switch o := options.(type) {
		case *Options:
			o.seams = s
		case *VerifyOptions:
			o.seams = s
		}
	})
}

// withDefaults returns the checked copy of o that a store keeps.
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
	if c.ExpectedKeys < 0 || int64(c.ExpectedKeys) > maxExpectedKeys {
		return c, fmt.Errorf("%w: Options.ExpectedKeys is %d; it must be between 0 and %d", ErrInvalid, c.ExpectedKeys, int64(maxExpectedKeys))
	}
	if c.ScrubBytesPerSecond < 0 {
		return c, fmt.Errorf("%w: Options.ScrubBytesPerSecond is %d; it must not be negative", ErrInvalid, c.ScrubBytesPerSecond)
	}
	if c.SnapshotLimit < 0 {
		return c, fmt.Errorf("%w: Options.SnapshotLimit is %d; it must not be negative", ErrInvalid, c.SnapshotLimit)
	}
	if c.Events.SnapshotAge < 0 {
		return c, fmt.Errorf("%w: Options.Events.SnapshotAge is %v; it must not be negative", ErrInvalid, c.Events.SnapshotAge)
	}
	if c.Events.SlowThreshold < 0 {
		return c, fmt.Errorf("%w: Options.Events.SlowThreshold is %v; it must not be negative", ErrInvalid, c.Events.SlowThreshold)
	}
	if err := c.Compaction.setDefaults(); err != nil {
		return c, err
	}
	return c, nil
}

// setDefaults sets the defaults, and checks the rest.
func (c *Compaction) setDefaults() error {
	if c.GarbageRatio == 0 {
		c.GarbageRatio = 0.5
	}
	if c.MaxSpaceRatio == 0 {
		c.MaxSpaceRatio = 2
	}
	switch {
	case !(c.GarbageRatio > 0 && c.GarbageRatio <= 1):
		return fmt.Errorf("%w: Options.Compaction.GarbageRatio is %v; it must be above 0 and at most 1", ErrInvalid, c.GarbageRatio)
	case !(c.MaxSpaceRatio > 1):
		return fmt.Errorf("%w: Options.Compaction.MaxSpaceRatio is %v; it must be more than 1", ErrInvalid, c.MaxSpaceRatio)
	case c.BytesPerSecond < 0:
		return fmt.Errorf("%w: Options.Compaction.BytesPerSecond is %d; it must not be negative", ErrInvalid, c.BytesPerSecond)
	}
	return nil
}
