// Package load fills the index from hints.
//
// What must hold: of two records of a key the younger one decides, whichever comes first. A
// tombstone or an expired record keeps the place of its key until all records are in.
package load

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// Options says what loading needs of its store.
type Options struct {
	Catalog      *catalog.Catalog
	Hints        *hints.Hints
	Hasher       index.Hasher
	Now          func() time.Time
	NewIndex     func(keys int) *index.KeyDir
	ExpectedKeys int  // the index is not made smaller than this
	OneWorker    bool // do not start goroutines: a test takes the steps
	// Expires is told of each loaded record that expires: its file, its offset, below which
	// size all offsets of the file lie, and when it does.
	Expires func(f *catalog.File, offset, size, at int64)
}

// Loading fills the index from the hints. The keys of a hint are spread over all of
// the index, and a large one has more pages of memory than a processor can find at
// once. So each worker collects records by parts of the index, and puts those of one
// part into it together: that takes half the time.
//
// Memory that a process has never used costs more time than all else that is done
// with it. So hints are read by pieces, into the same memory each time, and what is
// collected is little beside the index.
type Loading struct {
	Options
	parts    int // of the index, a power of two
	capacity int // of a worker for records of one part

	workers int // in the end
	started int // of them
	working sync.WaitGroup
	// mu guards the rest.
	mu       rank.Mutex[rank.Loading]
	changed  sync.Cond // there is something to do, or nothing comes any more
	sources  []*hintSource
	waiting  []*hintSource // those of which nobody has opened the hint
	ready    []*hintSource // those with pieces that nobody has taken
	unusable []*hintSource // those whose hint has to be made anew, behind a recovery
	opening  int           // workers that open or make a hint
	complete bool          // there are no more sources than these, and hints may be written
	err      error

	// Rebuilt is how many hints were made anew. It is set once Finish returns.
	Rebuilt int
}

// hintSource is a file whose records go into the index.
type hintSource struct {
	file    *catalog.File
	hint    *hints.Hint // nil: it is not open
	rebuilt bool        // the hint was made anew
	next    int         // piece that nobody has taken
	busy    int         // workers that have one
	failed  bool        // a piece could not be read, or was not what was checked

	// What the hint says of its file, once all of it was read.
	due     int64
	damages []failure.Damage
}

const (
	piecesAtOnce = 4       // of a hint that a worker takes
	partBytes    = 1 << 20 // of the index, about
	maxParts     = 256     // the processor writes to so many places at once
	maxCollected = 2048    // records of one part, by one worker
)

// Start begins to fill the index. Which file is younger decides between two
// records of a key, whoever comes first; a tombstone or an expired record holds its
// key's place until all are in.
//
// If there is a recovery to come, it begins with the files that are sealed, beside it.
// Until it ends nothing is written.
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

// Finish fills the index with all that there is.
func (l *Loading) Finish() error {
	l.mu.Lock()
	for _, f := range l.Catalog.Files.Order[len(l.sources):] { // the sealed ones are in front
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
		from.file.HintDue.Add(from.due)
		for _, d := range from.damages {
			l.Catalog.NoteDamage(d)
		}
		if from.rebuilt {
			l.Rebuilt++
		}
	}
	l.Catalog.Files.Keys.Sweep(index.Location.Tombstone)
	l.Catalog.Files.Keys.Trim(l.ExpectedKeys)
	return l.err
}

// Abandon ends what was started, because there was an error.
func (l *Loading) Abandon(err error) error {
	l.mu.Lock()
	l.err = errors.Join(l.err, err)
	l.changed.Broadcast()
	l.mu.Unlock()
	l.working.Wait()
	for _, from := range l.sources {
		from.close()
	}
	return err
}

// start makes it so many workers; those that work already are among them.
func (l *Loading) start(workers int) {
	for ; l.started < workers; l.started++ {
		l.working.Go(l.work)
	}
}

func newLoading(o Options) *Loading {
	l := &Loading{Options: o, parts: 1, workers: runtime.GOMAXPROCS(0)}
	if l.OneWorker {
		l.workers = 1
	}
	l.sizeIndex()
	l.changed.L = &l.mu
	bytes := l.Catalog.Files.Keys.Bytes()
	for l.parts < maxParts && int64(l.parts)*partBytes < bytes {
		l.parts *= 2
	}
	// What all workers collect takes a quarter of what a large index takes, at most.
	most := bytes / 4 / int64(l.workers*l.parts) / int64(unsafe.Sizeof(loaded{}))
	l.capacity = int(min(max(most, 16), maxCollected))
	return l
}

// add adds a file whose hint there is to read.
func (l *Loading) add(f *catalog.File) {
	from := &hintSource{file: f}
	l.sources = append(l.sources, from)
	l.waiting = append(l.waiting, from)
}

// sizeIndexFrom is the size of a store, in bytes of segments, below which the index
// may as well grow.
const sizeIndexFrom = 1 << 20

// sizeIndex makes the index large enough for all that the hints have. Of two records
// of a key one goes; what there is too much then is given back in the end.
func (l *Loading) sizeIndex() {
	var bytes int64
	for _, f := range l.Catalog.Files.Order {
		bytes += f.Limit()
	}
	if bytes < sizeIndexFrom {
		return
	}
	entries := 0
	for _, f := range l.Catalog.Files.Order {
		entries += l.Hints.Count(f)
	}
	if entries > l.ExpectedKeys {
		l.Catalog.Files.Keys = l.NewIndex(entries)
		l.Catalog.Files.Publish()
	}
}

// work does what there is to do, until nothing is left or something has failed.
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

// step does one thing, or waits for one, with the lock but for the meantime. It says
// whether there may be more.
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

// open opens a source's hint, or makes it anew, without the lock meanwhile.
func (l *Loading) open(from *hintSource) {
	mayWrite := l.complete
	l.opening++
	l.mu.Unlock()
	hint, rebuilt, err := from.openHint(&l.Options, mayWrite)
	l.mu.Lock()
	l.opening--
	switch {
	case err == nil:
		from.hint, from.rebuilt, from.next, from.failed = hint, rebuilt, 0, false
		l.ready = append(l.ready, from)
	case mayWrite:
		l.err = errors.Join(l.err, err)
	default:
		l.putOff(from)
	}
	l.changed.Broadcast()
}

// putOff is for a source whose hint has to be made anew.
func (l *Loading) putOff(from *hintSource) {
	if l.complete {
		l.waiting = append(l.waiting, from)
	} else {
		l.unusable = append(l.unusable, from)
	}
}

// readPieces collects what some pieces of a source's hint have, without the lock
// meanwhile. When a piece is not any more what it was a moment ago, the hint is made
// anew from the records; what was in the index of it before is there again then.
func (l *Loading) readPieces(from *hintSource, c *collector) {
	hint := from.hint
	first, next := from.next, min(from.next+piecesAtOnce, hint.Pieces())
	if from.next = next; next == hint.Pieces() {
		l.drop(from)
	}
	from.busy++
	l.mu.Unlock()
	var err error
	for i := first; i < next && err == nil; i++ {
		err = c.collect(from.file, hint, i)
	}
	l.mu.Lock()
	from.busy--
	if err != nil {
		from.failed = true
		l.drop(from)
	}
	switch {
	case from.busy > 0:
	case from.failed:
		from.close()
		l.putOff(from)
		l.changed.Broadcast()
	case from.next == hint.Pieces():
		from.due, from.damages = hint.Size(), l.unreadable(from.file, hint.Damages())
		from.close()
	}
}

// drop takes a source off the list of those that have pieces.
func (l *Loading) drop(from *hintSource) {
	if i := slices.Index(l.ready, from); i >= 0 {
		l.ready = slices.Delete(l.ready, i, i+1)
	}
}

// close lets go of the source's hint.
func (from *hintSource) close() {
	if from.hint != nil {
		from.hint.Close()
		from.hint = nil
	}
}

// MaxRanges is how many ranges of one file Open tells of one by one.
const MaxRanges = 1000

// unreadable marks a file that has ranges which cannot be read, and lists them.
func (l *Loading) unreadable(f *catalog.File, ranges []segment.Damage) (list []failure.Damage) {
	if len(ranges) > 0 {
		f.Damaged.Store(true)
		l.Catalog.Hides.Store(true)
	}
	for i, d := range ranges {
		one := failure.Damage{File: segment.FileName(f.ID), Offset: d.Offset, Reason: fmt.Sprintf("%d bytes cannot be read", d.Length)}
		if more := len(ranges) - i; i == MaxRanges && more > 1 {
			last := ranges[len(ranges)-1]
			one.Reason = fmt.Sprintf("%d more ranges, up to %d, cannot be read", more, last.Offset+last.Length)
			return append(list, one)
		}
		list = append(list, one)
	}
	return list
}

// openHint opens the source's hint, or makes it anew if something may be written.
func (from *hintSource) openHint(o *Options, mayWrite bool) (hint *hints.Hint, rebuilt bool, err error) {
	f := from.file
	if !from.failed {
		if hint, err = o.Hints.Open(f, nil); err == nil {
			f.Built = nil
			return hint, false, nil
		}
		if errno.Scarce(err) {
			return nil, false, err // the hint may be as good as ever
		}
	}
	if !mayWrite {
		return nil, false, err
	}
	hint, err = o.Hints.Rebuild(f, nil)
	if err != nil && !errors.Is(err, failure.ErrFailed) { // else it was read, and could not be written down
		err = failure.Unusable(segment.FileName(f.ID), err)
	}
	return hint, true, err
}
