package mmapkv

import (
	"log/slog"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// catalogOptions says what a catalog needs of its store.
type catalogOptions struct {
	SegmentSize int64
	ReadOnly    bool
	LockMemory  bool // keep new files in memory
	// SyncParents makes the names of the directory and of its parents durable.
	SyncParents func() error
	Syncer      *fsync.Syncer
	Latch       *failure.Latch
	Random      func() uint64 // draws salts
	Message     func(level slog.Level, text string, attributes ...any)
	NoteDamage  func(failure.Damage) // told of damage that Open can work around
}

// catalog is the files of a store.
type catalog struct {
	catalogOptions
	dir      vfs.Dir
	reserve  *reserve.Reserve
	lockName fileName // of LOCK, if this is its owner

	live     atomic.Pointer[live] // what readers use; nil after Close
	files    fileSet
	manifest manifestLog
	retired  retiredFiles

	lastGiven atomic.Uint64 // the highest sequence number that may be on disk
	// hides says that there may be records which the index does not have: they had
	// expired when it lost them, or lie in ranges that cannot be read. A clock that
	// is set back, or a disk that recovers, would have the next Open find them, so a
	// Delete of an absent key is written down.
	hides atomic.Bool
}

// init makes an empty catalog, with an empty index.
func (c *catalog) init(o catalogOptions, keys *index.KeyDir) {
	c.catalogOptions = o
	c.files.keys, c.files.live = keys, &c.live
}

// set is the set of files that readers use, nil after Close.
func (c *catalog) set() *live { return c.live.Load() }
