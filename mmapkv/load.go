package mmapkv

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// loading fills the index from the hints. The keys of a hint are spread over all of
// the index, and a large one has more pages of memory than a processor can find at
// once. So each worker collects records by parts of the index, and puts those of one
// part into it together: that takes half the time.
//
// Memory that a process has never used costs more time than all else that is done
// with it. So hints are read by pieces, into the same memory each time, and what is
// collected is little beside the index.
type loading struct {
	store    *Store
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
	damages []CorruptError
}

// loaded is a record that goes into the index.
type loaded struct {
	hash     uint64 // with check the key's fingerprint
	location index.Location
	size     int64 // which the location has only if it is small
	expiry   int64
	check    uint32
	keySize  uint16
}

const (
	piecesAtOnce  = 4       // of a hint that a worker takes
	partBytes     = 1 << 20 // of the index, about
	mostParts     = 256     // the processor writes to so many places at once
	mostCollected = 2048    // records of one part, by one worker
)

// startLoading begins to fill the index. Which file is younger decides between two
// records of a key, whoever comes first; a tombstone or an expired record holds its
// key's place until all are in.
//
// If there is a recovery to come, it begins with the files that are sealed, beside it.
// Until it ends nothing is written.
func (s *Store) startLoading(beside bool) *loading {
	s.sizeIndex()
	l := s.newLoading()
	for _, f := range s.catalog.Files.Order {
		if f.Active == nil {
			l.add(f)
		}
	}
	if beside && len(l.sources) > 0 && !s.manual() {
		l.start(l.workers - 1)
	}
	return l
}

// finish fills the index with all that there is.
func (l *loading) finish() error {
	s := l.store
	l.mu.Lock()
	for _, f := range s.catalog.Files.Order[len(l.sources):] { // the sealed ones are in front
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
		s.recovery.Damages = append(s.recovery.Damages, from.damages...)
		if from.rebuilt {
			s.recovery.HintsRebuilt++
		}
	}
	s.catalog.Files.Keys.Sweep(index.Location.Tombstone)
	s.catalog.Files.Keys.Trim(s.options.ExpectedKeys)
	if s.catalog.Hides.Load() {
		s.expiresAt(0) // the tail may have expired, or most of it
	}
	return l.err
}

// abandon ends what was started, because there was an error.
func (l *loading) abandon(err error) error {
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
func (l *loading) start(workers int) {
	for ; l.started < workers; l.started++ {
		l.working.Go(l.work)
	}
}

func (s *Store) newLoading() *loading {
	l := &loading{store: s, parts: 1, workers: runtime.GOMAXPROCS(0)}
	if s.manual() {
		l.workers = 1
	}
	l.changed.L = &l.mu
	bytes := s.catalog.Files.Keys.Bytes()
	for l.parts < mostParts && int64(l.parts)*partBytes < bytes {
		l.parts *= 2
	}
	// What all workers collect takes a quarter of what a large index takes, at most.
	most := bytes / 4 / int64(l.workers*l.parts) / int64(unsafe.Sizeof(loaded{}))
	l.capacity = int(min(max(most, 16), mostCollected))
	return l
}

// add adds a file whose hint there is to read.
func (l *loading) add(f *catalog.File) {
	from := &hintSource{file: f}
	l.sources = append(l.sources, from)
	l.waiting = append(l.waiting, from)
}

// sizeIndexFrom is the size of a store, in bytes of segments, below which the index
// may as well grow.
const sizeIndexFrom = 1 << 20

// sizeIndex makes the index large enough for all that the hints have. Of two records
// of a key one goes; what there is too much then is given back in the end.
func (s *Store) sizeIndex() {
	var bytes int64
	for _, f := range s.catalog.Files.Order {
		bytes += f.Limit()
	}
	if bytes < sizeIndexFrom {
		return
	}
	entries := 0
	for _, f := range s.catalog.Files.Order {
		entries += s.hints.Count(f)
	}
	if entries > s.options.ExpectedKeys {
		s.catalog.Files.Keys = s.options.newIndex(entries)
		s.catalog.Files.Publish()
	}
}

// work does what there is to do, until nothing is left or something has failed.
func (l *loading) work() {
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
func (l *loading) step(c *collector) bool {
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
func (l *loading) open(from *hintSource) {
	mayWrite := l.complete
	l.opening++
	l.mu.Unlock()
	hint, rebuilt, err := from.openHint(l.store, mayWrite)
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
func (l *loading) putOff(from *hintSource) {
	if l.complete {
		l.waiting = append(l.waiting, from)
	} else {
		l.unusable = append(l.unusable, from)
	}
}

// readPieces collects what some pieces of a source's hint have, without the lock
// meanwhile. When a piece is not any more what it was a moment ago, the hint is made
// anew from the records; what was in the index of it before is there again then.
func (l *loading) readPieces(from *hintSource, c *collector) {
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
		from.due, from.damages = hint.Size(), l.store.unreadable(from.file, hint.Damages())
		from.close()
	}
}

// drop takes a source off the list of those that have pieces.
func (l *loading) drop(from *hintSource) {
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

// mostRanges is how many ranges of one file Open tells of one by one.
const mostRanges = 1000

// unreadable marks a file that has ranges which cannot be read, and lists them.
func (s *Store) unreadable(f *catalog.File, ranges []segment.Damage) (list []CorruptError) {
	if len(ranges) > 0 {
		f.Damaged.Store(true)
		s.catalog.Hides.Store(true)
	}
	for i, d := range ranges {
		one := CorruptError{File: segment.FileName(f.ID), Offset: d.Offset, Reason: fmt.Sprintf("%d bytes cannot be read", d.Length)}
		if more := len(ranges) - i; i == mostRanges && more > 1 {
			last := ranges[len(ranges)-1]
			one.Reason = fmt.Sprintf("%d more ranges, up to %d, cannot be read", more, last.Offset+last.Length)
			return append(list, one)
		}
		list = append(list, one)
	}
	return list
}

// openHint opens the source's hint, or makes it anew if something may be written.
func (from *hintSource) openHint(s *Store, mayWrite bool) (hint *hints.Hint, rebuilt bool, err error) {
	f := from.file
	if !from.failed {
		if hint, err = s.hints.Open(f, nil); err == nil {
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
	hint, err = s.hints.Rebuild(f, nil)
	if err != nil && !errors.Is(err, ErrFailed) { // else it was read, and could not be written down
		err = failure.Unusable(segment.FileName(f.ID), err)
	}
	return hint, true, err
}

// collector is what one worker has collected.
type collector struct {
	*loading
	keys    index.Loader
	now     int64 // Unix milliseconds
	records []loaded
	counts  []int  // of records of each part, which has so many times capacity places
	piece   []byte // memory of the last one
	tallies map[*catalog.File]*tally
}

// tally is what the records of a file come to.
type tally struct {
	live, liveHints int64
}

func (l *loading) newCollector() *collector {
	c := &collector{
		loading: l,
		keys:    l.store.catalog.Files.Keys.Loader(),
		now:     l.store.now().UnixMilli(),
		records: make([]loaded, l.parts*l.capacity),
		counts:  make([]int, l.parts),
		tallies: map[*catalog.File]*tally{},
	}
	prefetch.Pages(c.records)
	return c
}

// collect collects the records of a piece of a hint.
func (c *collector) collect(f *catalog.File, hint *hints.Hint, piece int) error {
	entries, err := hint.Piece(piece, c.piece)
	if err != nil {
		return err
	}
	c.piece = entries
	for len(entries) > 0 {
		e := entries.Next()
		print := c.store.hasher.Fingerprint(e.Key)
		part := index.Part(print.Hash, c.parts)
		count := &c.counts[part]
		c.records[part*c.capacity+*count] = loaded{print.Hash, c.store.locate(f, &e, c.now), e.Size, e.Expiry, print.Check, uint16(len(e.Key))}
		if *count++; *count == c.capacity {
			c.put(part)
		}
	}
	return nil
}

// put puts what was collected of a part into the index.
func (c *collector) put(part int) {
	records := c.records[part*c.capacity:][:c.counts[part]]
	c.counts[part] = 0
	keys := c.store.catalog.Files.Keys
	var f *catalog.File
	var of *tally
	for i := range records {
		if ahead := i + prefetchAhead; ahead < len(records) {
			keys.Prefetch(records[ahead].hash)
		}
		r := &records[i]
		if !c.store.load(&c.keys, r) {
			continue
		}
		if f == nil || f.Slot != r.location.Slot() {
			f = c.store.catalog.Set().File(r.location)
			of = c.tally(f)
		}
		of.live += r.size
		of.liveHints += segment.HintEntrySize(int(r.keySize))
		if r.expiry != 0 {
			c.store.expires(f, r.location.Offset(), max(f.Capacity, f.End.Offset), r.expiry)
		}
	}
}

func (c *collector) tally(f *catalog.File) *tally {
	of := c.tallies[f]
	if of == nil {
		of = new(tally)
		c.tallies[f] = of
	}
	return of
}

// end puts the rest into the index, and counts what there is of each file.
func (c *collector) end() {
	for part := range c.counts {
		c.put(part)
	}
	c.keys.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, of := range c.tallies {
		f.LiveBytes.Add(of.live)
		f.LiveHints.Add(of.liveHints)
	}
}

// locate is the location of a record of a hint, and for one that reads do not find
// that which holds its key's place.
func (s *Store) locate(f *catalog.File, e *segment.HintEntry, now int64) index.Location {
	size := e.Size
	if e.Flags != 0 {
		f.MayShadow.Store(true)
		switch {
		case e.Flags&segment.Tombstone != 0:
			size = 0
		case e.Flags&segment.Expires != 0 && e.Expiry <= now:
			f.Expired.Add(e.Size)
			size = 0
			s.catalog.Hides.Store(true)
		}
	}
	return index.MakeLocation(f.Slot, e.Offset, size)
}

// load puts one record into the index, and says whether it is one that reads can
// find, unless a younger one comes.
func (s *Store) load(keys *index.Loader, r *loaded) bool {
	loser, _ := keys.PutNewer(index.Fingerprint{Hash: r.hash, Check: r.check}, r.location)
	if loser == r.location {
		return false
	}
	if loser != index.NoLocation && !loser.Tombstone() {
		older := s.catalog.Set().File(loser)
		older.AddLive(older.RecordSize(loser), int(r.keySize), -1)
	}
	return !r.location.Tombstone()
}
