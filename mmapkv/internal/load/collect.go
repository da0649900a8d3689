package load

import (
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// collector holds what one worker has collected.
type collector struct {
	*Loading
	keys     index.Loader
	parts    int                      // of the index, a power of two
	capacity int                      // in records of one part
	records  []index.Entry            // capacity places for each part
	rest     []more                   // of these records, where they say so
	counts   []int                    // of the records of each part
	entries  segment.HintEntries      // of the last piece, whose memory the next one reuses
	batch    segment.Batch            // some of them, at most prefetch.Batch
	prints   []index.Fingerprint      // of their keys
	places   []index.Location         // of their records
	tallies  map[*catalog.File]*tally // of the records that this worker collects

	holds     map[*source]bool // those with records that are not in the index yet
	collected int              // records since the last flush

	napper *nap.Napper // nil: do not give way
	seen   int64       // of Loading.asked
	active time.Time   // until then there are reads or writes to give way to
}

// The Tag of an entry that a collector holds is the size of its key, and these.
const (
	hasMore = 1 << (16 + iota) // there is more to know
	refused                    // the index has a younger record, or the same one already
)

// more is what an entry does not have room for. Most records are small and never expire.
type more struct {
	size   int64 // of the record, in bytes
	expiry int64 // Unix milliseconds; 0: never
}

// tally is the sum of the live records of a file that a worker has collected, in bytes. Those that
// the index has refused are taken off again.
type tally struct {
	live, liveHints int64 // for File.LiveBytes and File.LiveHints
}

func (t *tally) add(size int64, keySize int, sign int64) {
	t.live += sign * size
	t.liveHints += sign * segment.HintEntrySize(keySize)
}

// newCollector returns what a worker of Run collects with.
func (l *Loading) newCollector() *collector {
	c := l.newCollectorOf(l.parts, l.capacity)
	if !l.OneWorker {
		c.napper = nap.New()
	}
	prefetch.Pages(c.records)
	return c
}

func (l *Loading) newCollectorOf(parts, capacity int) *collector {
	return &collector{
		Loading:  l,
		keys:     l.Catalog.Files.Keys.Loader(),
		parts:    parts,
		capacity: capacity,
		records:  make([]index.Entry, parts*capacity),
		rest:     make([]more, parts*capacity),
		counts:   make([]int, parts),
		tallies:  map[*catalog.File]*tally{},
		holds:    map[*source]bool{},
		prints:   make([]index.Fingerprint, prefetch.Batch),
		places:   make([]index.Location, prefetch.Batch),
	}
}

// collect collects the records of the i-th piece of a hint.
func (c *collector) collect(f *catalog.File, hint *hints.Hint, i int) error {
	if err := hint.Piece(i, &c.entries); err != nil {
		return err
	}
	for more := true; more; {
		more = c.entries.Take(&c.batch, prefetch.Batch)
		c.addBatch(f)
	}
	return c.entries.Err()
}

// addBatch collects the records of the batch, and empties it. It does one thing after the other with
// all of them. The bits are set by atomic instructions, which wait until all that was written before
// has reached memory, and most of what collecting writes lies far apart.
func (c *collector) addBatch(f *catalog.File) {
	batch := c.batch.Entries
	for i := range batch {
		c.prints[i] = c.Hasher.Fingerprint(batch[i].Key)
		f.Alive.Prefetch(batch[i].Offset)
	}
	for i := range batch {
		c.places[i] = c.locate(f, &batch[i])
	}
	of := c.tally(f)
	for i, loc := range c.places[:len(batch)] {
		if !loc.Tombstone() {
			f.Alive.Set(loc.Offset()) // here and not in put, where the next record lies in another file
			of.add(batch[i].Size, len(batch[i].Key), 1)
		}
	}
	for i := range batch {
		c.add(c.prints[i], c.places[i], &batch[i])
	}
	c.batch.Reset(maxBatchKeys)
}

// maxBatchKeys is how much memory a collector keeps for the keys of a batch, in bytes.
const maxBatchKeys = 64 << 10

// add collects one record.
func (c *collector) add(fp index.Fingerprint, loc index.Location, e *segment.HintEntry) {
	part := index.Part(fp.Hash, c.parts)
	count := &c.counts[part]
	at := part*c.capacity + *count
	r := &c.records[at]
	r.Hash, r.Check, r.Location, r.Tag = fp.Hash, fp.Check, loc, uint32(len(e.Key))
	if _, known := loc.Size(); !known || e.Expiry != 0 {
		r.Tag |= hasMore
		c.rest[at] = more{e.Size, e.Expiry}
	}
	if c.collected++; c.collected%pauseEvery == 0 {
		c.pause()
	}
	if *count++; *count == c.capacity {
		c.put(part)
	}
}

// pauseEvery is how many records a worker collects, or puts into the index, between two looks at
// whether to give way.
const pauseEvery = 256

// locate returns the location of a hint's record. For a tombstone or an expired record it is one
// that keeps the place of the key, and that reads do not find.
func (l *Loading) locate(f *catalog.File, e *segment.HintEntry) index.Location {
	size := e.Size
	if e.Flags != 0 {
		f.MayShadow.Store(true)
		switch {
		case e.Flags&segment.Tombstone != 0:
			size = 0
		case e.Flags&segment.Expires != 0 && e.Expiry <= l.now:
			f.Expired.Add(e.Size)
			size = 0
			l.Catalog.Hides.Store(true)
		}
	}
	return index.MakeLocation(f.Slot, e.Offset, size)
}

// put puts the collected records of a part into the index.
func (c *collector) put(part int) {
	from := part * c.capacity
	records := c.records[from:][:c.counts[part]]
	c.counts[part] = 0
	for _, lost := range c.keys.PutNewer(records, c.pause) {
		r := &records[lost.Entry]
		if lost.Location == r.Location {
			c.refuse(r, c.sizeOf(from+lost.Entry))
		} else if !lost.Location.Tombstone() {
			older := c.Catalog.Set().File(lost.Location)
			older.Kill(lost.Location.Offset(), older.RecordSize(lost.Location), keySize(r))
		}
	}
	for i := range records {
		r := &records[i]
		if r.Tag&(hasMore|refused) != hasMore || r.Location.Tombstone() {
			continue
		}
		if expiry := c.rest[from+i].expiry; expiry != 0 {
			f := c.Catalog.Set().File(r.Location)
			c.Expires(f, r.Location.Offset(), max(f.Capacity, f.Limit()), expiry)
		}
	}
}

// refuse takes back what was noted of a record that the index has refused.
func (c *collector) refuse(r *index.Entry, size int64) {
	r.Tag |= refused
	if r.Location.Tombstone() {
		return
	}
	f := c.Catalog.Set().File(r.Location)
	c.tally(f).add(size, keySize(r), -1)
	// A hint that was rebuilt has the same records once more, and these stay alive.
	if c.Catalog.Files.Keys.Get(r.Fingerprint()) != r.Location {
		f.Alive.Clear(r.Location.Offset())
	}
}

// keySize is the size of an entry's key.
func keySize(r *index.Entry) int { return int(uint16(r.Tag)) }

// sizeOf returns the size of a collected record.
func (c *collector) sizeOf(at int) int64 {
	if c.records[at].Tag&hasMore != 0 {
		return c.rest[at].size
	}
	size, _ := c.records[at].Location.Size()
	return size
}

// tally returns the tally of a file.
func (c *collector) tally(f *catalog.File) *tally {
	of := c.tallies[f]
	if of == nil {
		of = new(tally)
		c.tallies[f] = of
	}
	return of
}

// putAll puts everything that is collected into the index.
func (c *collector) putAll() {
	for part := range c.counts {
		c.put(part)
	}
	c.collected = 0
}

// end adds the tallies to the files' accounts. All is in the index by now, unless loading is halted.
func (c *collector) end() {
	c.keys.Done()
	if c.napper != nil {
		c.napper.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, of := range c.tallies {
		f.LiveBytes.Add(of.live)
		f.LiveHints.Add(of.liveHints)
	}
}
