// Package load fills the index from hints.
//
// What must hold:
//
//   - Of two records of a key the younger one decides, in whatever order they come.
//   - A tombstone or an expired record keeps the place of its key until all records are in.
//   - Nothing is written while a recovery runs beside it.
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
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
)

// Options is what loading needs of its store.
type Options struct {
	Catalog      *catalog.Catalog             // the files, and the index to fill
	Hints        *hints.Hints                 // of these files
	Hasher       index.Hasher                 // of keys
	Now          func() time.Time             // decides what has expired
	NewIndex     func(keys int) *index.KeyDir // makes an empty index for that many keys
	ExpectedKeys int                          // the index is made no smaller than for that many
	OneWorker    bool                         // load in Finish alone, with one worker: for tests

	// Expires is told of each loaded record that expires: its file, its offset, a size that no
	// record of the file begins after, and when it is due, in Unix milliseconds. Several
	// goroutines may call it at once.
	Expires func(f *catalog.File, offset, size, at int64)
}

// Loading is one run that fills the index. Start begins it; Finish or Abandon ends it.
type Loading struct {
	Options
	parts    int // of the index, a power of two
	capacity int // of a worker, in records of one part

	workers int // how many there will be
	started int // how many have been started
	working sync.WaitGroup

	mu       rank.Mutex[rank.Loading] // guards the rest
	changed  sync.Cond                // there is something to do, or nothing more will come
	sources  []*source
	waiting  []*source // those whose hint is to be opened
	ready    []*source // those with pieces to read
	unusable []*source // those whose hint is to be rebuilt once complete is set
	opening  int       // workers that open or rebuild a hint
	complete bool      // there are no more sources, and hints may be written
	err      error
	remade   map[*catalog.File]bool // what recovery found of these cannot be used: the hint is rebuilt
	closers  []func()               // of what recovery found

	// Rebuilt is the number of rebuilt hints. It is set once Finish returns.
	Rebuilt int
}

const (
	partBytes    = 1 << 20 // of the index, approximately
	maxParts     = 256     // the processor writes to as many places at once
	minCollected = 16      // records of one part, by one worker
	maxCollected = 2048
)

// Start begins to fill the index. beside says that a recovery comes before Finish: then workers
// load the sealed files beside it, and write nothing.
func Start(o Options, beside bool) *Loading {
	l := newLoading(o)
	for _, f := range l.Catalog.Files.Order {
		if f.Active == nil {
			l.add(f)
		}
	}
	if beside && len(l.sources) > 0 && !l.OneWorker {
		l.start(l.workers - 1)
	}
	return l
}

// newLoading sizes the index, and what workers collect.
func newLoading(o Options) *Loading {
	l := &Loading{Options: o, workers: runtime.GOMAXPROCS(0), remade: map[*catalog.File]bool{}}
	if l.OneWorker {
		l.workers = 1
	}
	l.changed.L = &l.mu
	l.size()
	return l
}

// size sizes the index, and what workers collect, before the first of them starts.
func (l *Loading) size() {
	l.sizeIndex()
	l.parts = 1
	bytes := l.Catalog.Files.Keys.Bytes()
	for l.parts < maxParts && int64(l.parts)*partBytes < bytes {
		l.parts *= 2
	}
	// What all workers collect takes at most a quarter of what a large index takes.
	fitting := bytes / 4 / int64(l.workers*l.parts) / int64(unsafe.Sizeof(loaded{}))
	l.capacity = int(min(max(fitting, minCollected), maxCollected))
}

// minSizedStore is the size in bytes of segments below which the index just grows as it is filled.
const minSizedStore = 1 << 20

// sizeIndex makes the index large enough for all entries of the hints, and for the records of files
// without one. If several are of one key, that is too large; Finish gives back the rest.
func (l *Loading) sizeIndex() {
	var known, unknown int64 // bytes
	entries := 0
	for _, f := range l.Catalog.Files.Order {
		n, size := l.entries(f)
		if entries += n; n > 0 {
			known += size
		} else {
			unknown += size
		}
	}
	if known+unknown < minSizedStore {
		return
	}
	if known > 0 {
		entries += int(float64(entries) * float64(unknown) / float64(known))
	}
	if entries > l.ExpectedKeys {
		l.Catalog.Files.Keys = l.NewIndex(entries)
		l.Catalog.Files.Publish()
	}
}

// entries returns how many entries of a file there are, 0 if that is not known yet, and how many
// bytes of records it has, or may have.
func (l *Loading) entries(f *catalog.File) (n int, bytes int64) {
	if r := f.Recovered; r != nil {
		return r.Len(), f.Limit()
	}
	if n = l.Hints.Count(f); n == 0 && f.Active != nil && f.Ended && f.End.Offset == 0 {
		size, _ := f.Handle().Size() // 0 with an error
		return 0, size
	}
	return n, f.Limit()
}

// add adds a file: what recovery has found in it, or its hint, which is to be read.
func (l *Loading) add(f *catalog.File) {
	if f.Recovered != nil {
		l.addRecovered(f)
		return
	}
	from := &source{file: f}
	l.sources = append(l.sources, from)
	l.waiting = append(l.waiting, from)
}

// start starts workers until there are as many as given, including those that already work.
func (l *Loading) start(workers int) {
	for ; l.started < workers; l.started++ {
		l.working.Go(l.work)
	}
}

// Finish fills the index from all files, and returns once that is done. It rebuilds hints that
// cannot be used. The caller has ended every file by now. Finish reports ranges that cannot be read
// to the catalog; its error is one that Open returns.
func (l *Loading) Finish() error {
	l.mu.Lock()
	if l.started == 0 && slices.ContainsFunc(l.Catalog.Files.Order, func(f *catalog.File) bool { return f.Recovered != nil }) {
		l.size() // recovery has counted
	}
	for _, f := range l.Catalog.Files.Order[len(l.sources):] { // Start added the sealed ones, which come first
		l.add(f)
	}
	l.waiting = append(l.waiting, l.unusable...)
	l.complete = true
	l.changed.Broadcast()
	l.mu.Unlock()
	l.start(l.workers)
	l.working.Wait()
	for _, from := range l.sources {
		from.close()
		if !from.recovered || !l.remade[from.file] {
			from.file.HintDue.Add(from.due)
		}
		if from.recovered && !l.remade[from.file] && from.file.Active == nil && !l.Catalog.ReadOnly {
			from.file.HintMissing.Store(true)
		}
		for _, d := range from.damages {
			l.Catalog.NoteDamage(d)
		}
		if from.rebuilt {
			l.Rebuilt++
		}
	}
	l.closeRecovered()
	l.Catalog.Files.Keys.Sweep(index.Location.Tombstone)
	l.Catalog.Files.Keys.Trim(l.ExpectedKeys)
	l.Catalog.Loaded.Store(l.err == nil)
	l.Catalog.CheckAlive()
	return l.err
}

// Abandon stops the workers because recovery failed with err, and returns err.
func (l *Loading) Abandon(err error) error {
	l.mu.Lock()
	l.err = errors.Join(l.err, err)
	l.changed.Broadcast()
	l.mu.Unlock()
	l.working.Wait()
	for _, from := range l.sources {
		from.close()
	}
	l.closeRecovered()
	return err
}

// work is a worker: it takes steps until nothing is left or something fails.
func (l *Loading) work() {
	c := l.newCollector()
	l.mu.Lock()
	for l.step(c) {
	}
	failed := l.err != nil
	l.mu.Unlock()
	if !failed {
		c.end()
	}
}

// step does one thing, or waits for one to do, and reports whether there may be more. The caller
// holds the lock; step releases it while it works.
func (l *Loading) step(c *collector) bool {
	switch {
	case l.err != nil:
		return false
	case len(l.ready) > 0:
		l.readPieces(l.ready[len(l.ready)-1], c)
	case len(l.waiting) > 0:
		from := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.open(from)
	case l.opening > 0 || !l.complete:
		l.changed.Wait()
	default:
		return false
	}
	return true
}
