// Package order answers which keys there are, in order.
//
// A State is the state after one commit: a set of files and a sequence number. A Cursor moves over
// the keys of a State. It merges runs, each of them sorted by key: the tables of files that have
// ended, and the sorted records of the others.
//
// What must hold:
//
//   - The newest record of a key in a State, among those up to its sequence number, decides by
//     itself: a tombstone means that the key is absent, anything else is the key's record. So
//     the index is not asked, and it does not matter what happened to the key since. Marks on
//     records (package alive) save work where they prove that the answer is the same: in a cursor
//     that passes many deleted keys, see sieve.go, and in a view.
//   - That is right because the set and the number are captured together, while nothing is being
//     published (catalog.Catalog.Publishing). A compaction drops a record only after the index has
//     left it, and a tombstone only if no older file has the key. So each set has, for each number
//     that was published when it was loaded, the newest record of each key, or none of a key that
//     is absent.
//   - A State holds its files by counts, from Capture to Release. So the records that its cursors
//     find can be read, although others may have been compacted away since.
//   - A table has one entry per key, the newest. So it stands for a file only in States that have
//     all records of the file: its end is known, and lies at or below the State's number. In
//     others the file is read as if it were still being written.
//   - Nothing in a table is believed before its part was checked. A table with a damaged part, or
//     one that cannot be read, is made anew from the records. If that fails, so does the Cursor.
//     It never shows a wrong order.
//   - The records of an unsealed file are sorted when a Cursor needs them, and what has been
//     sorted stays sorted. A store that is never scanned pays nothing.
//   - A single key is found without a merge: the youngest run that has it decides. A filter may say
//     that a table does not have it, see filter.go. It never says so of a key that the table has.
//   - Opening a table and sorting take no lock that a writer waits for.
//   - The entries of many tables are kept in one order, a view, in a store that is scanned. So are
//     those of few, without the dead ones, if scans pass many of these. It is made in the
//     background, and dropped when one of its files is about to be retired. Nobody waits for that.
package order

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
)

// Options is what the order needs of its store.
type Options struct {
	Catalog   *catalog.Catalog        // of the store
	Hints     *hints.Hints            // of its files
	Published func() uint64           // the number of the last write that readers can see
	Hash      func(key []byte) uint64 // of keys, for filters
	Eager     bool                    // cursors gather blocks from the first step on, and small ones; for tests
	ViewFrom  int                     // how many tables a view is made for at least; for tests, 0 otherwise
}

// Order keeps what scans of a store need, and have in common. All methods may be called
// concurrently.
type Order struct {
	Options

	mu      rank.Mutex[rank.Order]    // guards the rest; a leaf
	sources map[*catalog.File]*source // of files that a State has used and that are not retired
	current *plan                     // of the last set that a State was captured of; nil if none is held
	view    *view                     // of the oldest files of the newest set, if there is one
	making  *view                     // that is being made
	made    viewStats

	used atomic.Bool   // a cursor was opened since the last look
	wake chan struct{} // has a token once a cursor was opened

	vain   atomic.Int64 // entries, of long stretches in which nothing was present, since a view was last made
	sieved atomic.Int64
}

// New makes the order of a store.
func New(o Options) *Order {
	return &Order{Options: o, sources: map[*catalog.File]*source{}, wake: make(chan struct{}, 1)}
}

// Capture returns the state after the last commit. It holds its files until Release is called.
func (o *Order) Capture() (*State, error) {
	for {
		seq, set := o.capture()
		if set == nil {
			return nil, failure.ErrClosed
		}
		if p := o.planOf(set); p != nil {
			return stateOf(o, p, seq), nil
		}
		// One of the files was retired just now, and there is another set.
	}
}

// capture loads the last published number and the set, together.
func (o *Order) capture() (uint64, *catalog.FileSet) {
	o.Catalog.Publishing.Lock()
	defer o.Catalog.Publishing.Unlock()
	return o.Published(), o.Catalog.Set()
}

// Forget is called when a file is about to be retired. States that have it keep it.
func (o *Order) Forget(f *catalog.File) {
	o.mu.Lock()
	p := o.current
	if p == nil || !slices.Contains(p.set.Order, f) {
		p = nil
	} else {
		o.current = nil
	}
	done := o.letGoLocked(p)
	if s := o.sources[f]; s != nil {
		o.dropViewLocked(s)
		delete(o.sources, f)
		if s.forgotten = true; s.plans == 0 {
			done = append(done, ended{source: s})
		}
	}
	o.mu.Unlock()
	end(done)
}

// Close forgets all files. States that were not released keep theirs.
func (o *Order) Close() {
	o.mu.Lock()
	p := o.current
	o.current, o.view = nil, nil
	if o.making != nil {
		o.making.broken.Store(true)
	}
	done := o.letGoLocked(p)
	for f, s := range o.sources {
		delete(o.sources, f)
		if s.forgotten = true; s.plans == 0 {
			done = append(done, ended{source: s})
		}
	}
	o.mu.Unlock()
	end(done)
}

// Stats is what the order keeps, and what views took.
type Stats struct {
	Tables int   // that are open
	Runs   int   // of sorted records of unsealed files
	Bytes  int64 // of memory that both take, without what is mapped

	ViewTables int   // that the view covers; 0: there is none
	ViewKeys   int   // in it
	ViewBytes  int64 // of memory that it takes
	viewStats

	Sieved int64 // how often a cursor began to sieve
}

// viewStats is what views took since the store was opened.
type viewStats struct {
	ViewsMade int
	ViewsTook time.Duration // together
}

// Stats returns what is kept.
func (o *Order) Stats() (stats Stats) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.sources {
		tables, runs, bytes := s.size()
		stats.Tables += tables
		stats.Runs += runs
		stats.Bytes += bytes
	}
	stats.viewStats, stats.Sieved = o.made, o.sieved.Load()
	if v := o.view; v != nil && !v.broken.Load() {
		stats.ViewTables, stats.ViewKeys, stats.ViewBytes = len(v.sources), v.count, v.bytes()
	}
	return stats
}
