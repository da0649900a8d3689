// Package catalog says which files of the store exist, in what order, and who may see
// them: the list of files, the set that readers load, the edits of the manifest, and the
// making and removing of files.
//
// What must hold:
//
//   - The manifest changes only by Edit, which applies a change to the current list under
//     a mutex and returns when it is durable. No two parts of the store can each publish
//     their own idea of it.
//   - A file is durable under its name before a manifest lists it, and no manifest lists it
//     any more before it is removed.
//   - Readers load one immutable FileSet. It holds every file that the index points into.
//   - No file gets a number that any file of this store ever had.
//   - Where another process removes or replaces MANIFEST, LOCK or a file being written, the
//     store fails rather than write into files without a name.
package catalog

import (
	"log/slog"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// Options says what a catalog needs of its store.
type Options struct {
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

// Catalog is the files of a store.
type Catalog struct {
	Options
	Dir      vfs.Dir
	Reserve  *reserve.Reserve
	LockName nameIdentity // of LOCK, if this is its owner

	Current  atomic.Pointer[FileSet] // what readers use; nil after Close
	Files    FileList
	Manifest manifestLog
	Retired  retired

	LastGiven atomic.Uint64 // the highest sequence number that may be on disk
	// hides says that there may be records which the index does not have: they had
	// expired when it lost them, or lie in ranges that cannot be read. A clock that
	// is set back, or a disk that recovers, would have the next Open find them, so a
	// Delete of an absent key is written down.
	Hides atomic.Bool
}

// Init makes an empty catalog, with an empty index.
func (c *Catalog) Init(o Options, keys *index.KeyDir) {
	c.Options = o
	c.Files.Keys, c.Files.current = keys, &c.Current
}

// Set is the set of files that readers use, nil after Close.
func (c *Catalog) Set() *FileSet { return c.Current.Load() }

// LongSize is the size in bytes above which a record gets a file of its own, so that it
// neither holds up the group nor leaves a segment half empty.
func (c *Catalog) LongSize() int64 { return c.SegmentSize / 4 }
