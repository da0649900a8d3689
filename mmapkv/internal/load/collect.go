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
	records  []loaded                 // capacity places for each part
	counts   []int                    // of the records of each part
	entries  segment.HintEntries      // of the last piece, whose memory the next one reuses
	batch    segment.Batch            // some of them, at most prefetch.Batch
	prints   []index.Fingerprint      // of their keys
	places   []index.Location         // of their records
	tallies  map[*catalog.File]*tally // of the records that this worker put into the index

	holds     map[*source]bool // those with records that are not in the index yet
	collected int              // records since the last flush

	napper *nap.Napper // nil: do not give way
	seen   int64       // of Loading.asked
	active time.Time   // until then there are reads or writes to give way to
}

// loaded is a record that goes into the index.
type loaded struct {
	hash     uint64 // with check, the fingerprint of the key
	location index.Location
	size     int64 // in bytes; location has only small sizes
	expiry   int64 // Unix milliseconds; 0: never
	check    uint32
	keySize  uint16
}

// tally is the sum of the records of a file that the index points to, in bytes.
type tally struct {
	live, liveHints int64 // for File.LiveBytes and File.LiveHints
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
		records:  make([]loaded, parts*capacity),
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
	for _, loc := range c.places[:len(batch)] {
		if !loc.Tombstone() {
			f.Alive.Set(loc.Offset()) // here and not in put, where the next record lies in another file
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
	r := &c.records[part*c.capacity+*count]
	r.hash, r.check, r.location = fp.Hash, fp.Check, loc
	r.size, r.expiry, r.keySize = e.Size, e.Expiry, uint16(len(e.Key))
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
	records := c.records[part*c.capacity:][:c.counts[part]]
	c.counts[part] = 0
	keys := c.Catalog.Files.Keys
	var f *catalog.File
	var of *tally
	for i := range records {
		if ahead := i + prefetch.Ahead; ahead < len(records) {
			keys.Prefetch(records[ahead].hash)
		}
		if i%pauseEvery == pauseEvery-1 {
			c.pause()
		}
		r := &records[i]
		if !c.load(&c.keys, r) {
			continue
		}
		if f == nil || f.Slot != r.location.Slot() {
			f = c.Catalog.Set().File(r.location)
			of = c.tally(f)
		}
		of.live += r.size
		of.liveHints += segment.HintEntrySize(int(r.keySize))
		if r.expiry != 0 {
			c.Expires(f, r.location.Offset(), max(f.Capacity, f.Limit()), r.expiry)
		}
	}
}

// load puts one record into the index, and reports whether reads can find it, at least until a
// younger one comes.
func (l *Loading) load(keys *index.Loader, r *loaded) bool {
	fp := index.Fingerprint{Hash: r.hash, Check: r.check}
	loser, _ := keys.PutNewer(fp, r.location)
	if loser == r.location {
		// A hint that was rebuilt has the same records once more, and these stay alive.
		if !loser.Tombstone() && l.Catalog.Files.Keys.Get(fp) != loser {
			l.Catalog.Set().File(loser).Alive.Clear(loser.Offset())
		}
		return false
	}
	if loser != index.NoLocation && !loser.Tombstone() {
		older := l.Catalog.Set().File(loser)
		older.Kill(loser.Offset(), older.RecordSize(loser), int(r.keySize))
	}
	return !r.location.Tombstone()
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
