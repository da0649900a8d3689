// Package catalog says which files of the store exist, in what order, and who may see
// them. It keeps the list of files and the set that readers load, edits the manifest, and
// creates and removes files.
//
// What must hold:
//
//   - The manifest changes only by Edit, which applies a change to the current list under
//     a mutex and returns once it is durable. So no two parts of the store can each publish
//     their own idea of the list.
//   - A file is durable under its name before a manifest lists it, and is removed only
//     after the manifest has stopped listing it.
//   - Readers load one immutable FileSet. It holds every file that the index points into.
//   - No two files of a store ever have the same number.
//   - If another process removes or replaces MANIFEST, LOCK or a file being written, the
//     store fails. It does not go on writing into files without a name.
package catalog

import (
	"log/slog"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
)

// Catalog is the files of one store. ReadManifest, GoBy, OpenFiles, OpenFile and RemoveOrphans
// are for Open, while nobody else uses the store. The other methods may be called by any
// number of goroutines at once.
type Catalog struct {
	Options
	Dir      vfs.Dir          // the store's directory
	Reserve  *reserve.Reserve // the disk blocks held back for a full disk
	LockName nameIdentity     // which file LOCK is, unless ReadOnly

	published atomic.Pointer[FileSet] // what Set returns
	Files     FileList                // all listed files
	Manifest  manifestLog             // the current manifest
	Retired   retired                 // files that are no longer listed and may still be in use

	LastGiven atomic.Uint64 // the highest sequence number that may be on disk

	// Publishing guards the agreement of the index with what the log counts as published. It is
	// held while a group of writes becomes visible: while the index moves to its
	// records one after the other, until the log counts them as published. Whoever holds it and
	// loads the number of the last published write and then the set knows that the set has the
	// newest record of each key up to that number: a compaction drops only records that the index
	// has left, and the index leaves none for a write that is not counted yet.
	Publishing rank.Mutex[rank.Publishing]

	// Hides reports that the disk may hold records which the index does not have: they had
	// expired, or lie in ranges that cannot be read. If the clock is set back, or the disk
	// recovers, the next Open finds them. So a Delete of an absent key is written down.
	Hides atomic.Bool

	// Loaded says that Files.Keys has the records of all files, and that whoever puts another
	// placeholder for a tombstone into it takes it out again. Before that, the bits of the files are
	// not believed. See packages load and alive.
	Loaded atomic.Bool
	// Judged is the latest time, in Unix milliseconds, by which expired records left the index.
	Judged atomic.Int64
}

// Options is what a catalog needs of its store.
type Options struct {
	SegmentSize int64                // capacity of a new file, in bytes
	ReadOnly    bool                 // change nothing on disk
	LockMemory  bool                 // keep new files in memory
	SyncParents func() error         // makes the names of the directory and its parents durable
	Syncer      *fsync.Syncer        // syncs the log
	Latch       *failure.Latch       // makes failures final
	Random      func() uint64        // draws salts
	NoteDamage  func(failure.Damage) // is told of damage that Open can work around
	Forget      func(*File)          // is told of a file that is about to be retired; may be nil

	// Message logs.
	Message func(level slog.Level, text string, attributes ...any)
}

// Init makes c an empty catalog with the given empty index. Dir and Reserve are set
// separately.
func (c *Catalog) Init(o Options, keys *index.KeyDir) {
	c.Options = o
	c.Files.Keys, c.Files.published = keys, &c.published
	c.Retired.forget = o.Forget
}

// Set returns the set of files that readers use, nil after Close.
func (c *Catalog) Set() *FileSet { return c.published.Load() }

// Publish makes Set return a set, or nil when the store closes. While it is open, Files publishes
// the sets.
func (c *Catalog) Publish(set *FileSet) { c.published.Store(set) }

// LongSize returns the size in bytes above which a record gets a file of its own, so that it
// neither holds up the group nor leaves a segment half empty.
func (c *Catalog) LongSize() int64 { return c.SegmentSize / 4 }
