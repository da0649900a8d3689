// Package load fills the index from hints, beside reads and writes of a store that is open.
//
// What must hold:
//
//   - Of two records of a key the younger one decides, in whatever order they come. A location with
//     a higher slot, or in the same slot a higher offset, is younger: files that are added while
//     others are loaded get higher slots, and no file moves.
//   - A tombstone or an expired record keeps the place of its key in the index until all records
//     are in. That is also true of a tombstone that is written meanwhile: its record is in a file
//     that is not loaded.
//   - Until all records are in, absence from the index means nothing. Who looks for a key reads in
//     this order: Unloaded, the index, then the hints of the files that were unloaded and are
//     younger than what the index has (Unloaded.Find), and last Catalog.Loaded. If that is set,
//     the placeholders of deleted keys may be gone, and the search starts again.
//   - The end has this order: all records are in; readers are told that the index is whole
//     (Catalog.Loaded), then writers (FileSet.Partial), who from then on leave no placeholder; the
//     placeholders are swept. Only then may anything be compacted. A writer that puts a placeholder
//     looks at Catalog.Loaded afterwards, and takes it out again if that is set, since the sweep may
//     have passed.
//   - What expires is judged by the clock of Open.
//   - Nothing is written while a recovery runs beside it.
//   - Nobody waits for ever. If a file cannot be loaded, those that wait are told why, the others are
//     loaded, and that file is tried again, a second later or when somebody waits once more.
//
// The keys of a hint are spread over the whole index, and a large index has more pages of memory
// than a processor can translate at once. So each worker collects records by parts of the index,
// and puts those of one part into it together. That takes half the time.
//
// Memory that a process has never used costs more time than everything that is then done with it.
// So hints are read in pieces, into the same memory each time, and what is collected is little
// compared with the index.
package load

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
)

// Options is what loading needs of its store.
type Options struct {
	Catalog      *catalog.Catalog // the files, and the index to fill
	Hints        *hints.Hints     // of these files
	Hasher       index.Hasher     // of keys
	Now          func() time.Time // decides what has expired
	ExpectedKeys int              // the index is made no smaller than for that many
	OneWorker    bool             // a test loads, by Step, on its own goroutine
	OnDemand     bool             // Run waits until somebody needs the index
	Busy         func() bool      // reports whether any calls are writing

	// Expires is told of each loaded record that expires: its file, its offset, a size that no
	// record of the file begins after, and when it is due, in Unix milliseconds. Several
	// goroutines may call it at once.
	Expires func(f *catalog.File, offset, size, at int64)
	// Ended is called once, when the index is full.
	Ended func(Found)
}

// Found is what loading found and did.
type Found struct {
	// Rebuilt counts the hints that were rebuilt.
	Rebuilt int
	// Unhinted counts the files whose hint the background is to write.
	Unhinted int
	// Damages lists what cannot be read.
	Damages []failure.Damage
	// Duration is how long loading took, from Start on.
	Duration time.Duration
}

// Loading fills an index. Start begins it, Settle says that all files have ended, and Run or Step
// loads. Halt ends it early. The other methods may be called by any number of goroutines at once.
type Loading struct {
	Options
	now      int64 // when Open began, in Unix milliseconds
	began    time.Time
	prepared sync.Once // of the next two
	parts    int       // of the index, a power of two
	capacity int       // of a worker, in records of one part

	workers int // how many there will be
	working sync.WaitGroup
	hand    *collector // of Step

	unloaded atomic.Pointer[Unloaded]
	damage   atomic.Pointer[failure.Damage] // the first that was found
	asked    atomic.Int64                   // counts calls of Unloaded
	tables   tables

	begun sync.Once
	begin chan struct{} // closed once Run may load
	kick  chan struct{} // holds a token when Run should try again now
	halt  chan struct{} // closed by Halt
	done  chan struct{} // closed once the index is full

	mu       rank.Mutex[rank.Loading] // guards the rest
	changed  sync.Cond                // there is something to do, or something was loaded, or failed
	sources  []*source                // oldest first; complete once Settle returns
	waiting  []*source                // those whose hint is to be opened
	ready    []*source                // those with pieces to read
	unusable []*source                // those whose hint is to be rebuilt once complete is set
	failed   []*source                // those that could not be loaded in this attempt
	started  int                      // workers of this attempt
	opening  int                      // workers that open or rebuild a hint
	complete bool                     // there are no more sources, and hints may be written
	err      error                    // of the last attempt
	over     chan struct{}            // closed when this attempt is over
	found    Found
	settled  int                    // files of the catalog that were added
	unhinted []*catalog.File        // those that a recovery has sealed without a hint
	remade   map[*catalog.File]bool // of these the whole hint is loaded, and not what recovery found
	whole    map[*catalog.File]bool // of these it has been read
}

const (
	partBytes    = 1 << 20 // of the index, approximately
	maxParts     = 256     // the processor writes to as many places at once
	minCollected = 16      // records of one part, by one worker
	maxCollected = 2048
	// smallStore is the size in bytes of records below which loading takes less time than it takes
	// to do it beside others. The index then just grows.
	smallStore = 1 << 20
	// retryAfter is when Run tries again to load what it could not.
	retryAfter = time.Second
)

// Start begins to fill the index. beside says that a recovery comes before Settle: then workers
// load the sealed files beside it, and write nothing.
func Start(o Options, beside bool) *Loading {
	l := &Loading{Options: o, workers: runtime.GOMAXPROCS(0), now: o.Now().UnixMilli(), began: time.Now(),
		begin: make(chan struct{}), kick: make(chan struct{}, 1), halt: make(chan struct{}), done: make(chan struct{}), over: make(chan struct{}), remade: map[*catalog.File]bool{}, whole: map[*catalog.File]bool{}}
	l.changed.L = &l.mu
	if o.OneWorker {
		l.workers = 1
	}
	if !o.OnDemand {
		l.Begin()
	}
	l.Catalog.Files.BeginLoading()
	for _, f := range l.Catalog.Files.Order {
		if f.Active == nil {
			l.add(f)
		}
	}
	l.settled = len(l.sources)
	if beside && len(l.sources) > 0 && !l.OneWorker && !l.OnDemand {
		l.start(l.workers - 1)
	}
	return l
}

// add adds a file: what recovery has found of it, or its hint, which is to be read.
func (l *Loading) add(f *catalog.File) {
	if f.Recovered != nil {
		l.addRecovered(f)
		return
	}
	from := &source{of: l, file: f, end: f.End, sealed: f.Active == nil}
	l.sources = append(l.sources, from)
	l.waiting = append(l.waiting, from)
}

// Settle adds the files that Start did not, and returns whether there is so little to load that Open
// may wait for it. Every file has ended, or its end is known. From now on reads may come.
func (l *Loading) Settle() (small bool) {
	rest := l.Catalog.Files.Order[l.settled:] // Start added the sealed ones, which come first
	for _, f := range rest {
		if f.Recovered != nil {
			l.loadScanned(f)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range rest {
		l.add(f)
	}
	l.waiting = append(l.waiting, l.unusable...)
	l.unusable = nil
	l.complete = true
	l.publishUnloadedLocked()
	l.changed.Broadcast()
	if small = l.bytesLocked() < smallStore; small && l.started == 0 {
		l.workers = 1
	}
	return small
}

// bytesLocked is the size of all records to load.
func (l *Loading) bytesLocked() (bytes int64) {
	for _, from := range l.sources {
		bytes += from.end.Offset
	}
	return bytes
}

// Begin lets Run load.
func (l *Loading) Begin() { l.begun.Do(func() { close(l.begin) }) }

// Run loads, again and again until the index is full or Halt is called.
func (l *Loading) Run() {
	select {
	case <-l.begin:
	case <-l.halt:
		return
	}
	for !l.IsDone() && l.Finish() != nil {
		timer := time.NewTimer(retryAfter)
		select {
		case <-timer.C:
		case <-l.kick:
		case <-l.halt:
		}
		timer.Stop()
		if l.halted() {
			return
		}
	}
}

// Finish tries once to load everything. Its error says what could not be loaded.
func (l *Loading) Finish() error {
	if l.OneWorker {
		for {
			if did, err := l.Step(); !did || err != nil {
				return err
			}
		}
	}
	l.start(l.workers)
	l.working.Wait()
	return l.end()
}

// Step takes one step of loading, and reports whether there was one. A test calls it in place of
// Run. Its error is that of Finish.
func (l *Loading) Step() (did bool, err error) {
	if l.IsDone() || l.halted() {
		return false, nil
	}
	l.prepared.Do(l.prepare)
	if l.hand == nil {
		l.hand = l.newCollector()
	}
	l.mu.Lock()
	more := l.step(l.hand)
	l.mu.Unlock()
	if more {
		return true, nil
	}
	l.hand.end()
	l.hand = nil
	return true, l.end()
}

// end ends an attempt. If everything is loaded, the index is whole.
func (l *Loading) end() error {
	l.mu.Lock()
	l.started = 0
	l.err = nil
	for _, from := range l.failed {
		l.err = errors.Join(l.err, from.err)
	}
	if l.halted() {
		l.err = failure.ErrClosed
	}
	err := l.err
	if err == nil {
		l.noteMissingHints()
	}
	l.found.Duration = time.Since(l.began)
	found := l.found
	l.mu.Unlock()
	if err == nil {
		l.Catalog.Loaded.Store(true)
		l.Catalog.Files.EndLoading()
		l.Catalog.Files.Keys.Sweep(index.Location.Tombstone)
		l.Catalog.Files.Keys.Trim(l.ExpectedKeys)
		l.tables.close(l.sources)
		l.Ended(found)
		close(l.done)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, l.failed...)
	l.failed = nil
	close(l.over)
	l.over = make(chan struct{})
	l.changed.Broadcast()
	return err
}
