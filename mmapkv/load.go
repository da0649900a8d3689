package mmapkv

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// loading fills the index from the hints. The keys of a hint are spread over all of
// the index, and a large one has more pages of memory than a processor can find at
// once. So a stretch of a hint is sorted by parts of the index first, and each part
// is filled by itself: that takes half the time.
//
// The workers take whatever there is to do: parts first, then stretches, then files
// whose hints are not read. So they have work to the end, however many files there
// are, and no more hints and stretches are in memory than there are workers.
type loading struct {
	store *Store
	parts int // of the index, a power of two

	mu        sync.Mutex // guards the rest, and Store.recovery
	changed   sync.Cond  // there is something to do, or nobody makes any more
	files     []*file    // whose hints are not read
	stretches []stretch
	sorted    []part
	spare     [][]loaded // memory of batches that are done
	producing int        // workers that read a hint or sort a stretch
	err       error
}

// stretch is what is left to do of a file's hint.
type stretch struct {
	file *file
	hint *segment.Hint
	from int // entry
}

// part is what goes from a stretch into one part of the index.
type part struct {
	file    *file
	records []loaded
	of      *batch
}

// batch is the memory of the parts of a stretch, which another one has when they are
// in the index: to provide it takes longer than to fill it.
type batch struct {
	records []loaded
	left    int // parts that are not in the index
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
	stretchEntries = 512 << 10 // at most
	partBytes      = 1 << 20   // of the index, about
	mostParts      = 256       // the processor writes to so many places at once
)

// loadIndex fills the index. Which file is younger decides between two records of
// a key, whoever comes first; a tombstone or an expired record holds its key's
// place until all are in.
func (s *Store) loadIndex() error {
	s.sizeIndex()
	l := &loading{store: s, files: s.files.order, parts: 1}
	for l.parts < mostParts && int64(l.parts)*partBytes < s.files.keys.Bytes() {
		l.parts *= 2
	}
	l.changed.L = &l.mu
	workers := runtime.GOMAXPROCS(0)
	if s.manual() {
		workers = 1
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(l.work)
	}
	group.Wait()
	s.files.keys.Sweep(index.Location.Tombstone)
	return l.err
}

// sizeIndexFrom is the size of a store, in bytes of segments, below which the index
// may as well grow.
const sizeIndexFrom = 1 << 20

// sizeIndex makes the index large enough for most of what the hints have. Of two
// records of a key one goes; when there is none such the pages get fuller instead.
func (s *Store) sizeIndex() {
	var bytes int64
	for _, f := range s.files.order {
		bytes += f.Limit()
	}
	if bytes < sizeIndexFrom {
		return
	}
	entries := 0
	for _, f := range s.files.order {
		entries += s.hintCount(f)
	}
	if expected := entries / 4 * 3; expected > s.options.ExpectedKeys {
		s.files.keys = s.newIndex(expected)
		s.files.publish()
	}
}

// hintCount is how many keys a file's hint says that it has; 0 where that is not to
// be had.
func (s *Store) hintCount(f *file) int {
	hint, size, err := openBounded(s.dir, segment.HintName(f.ID), segment.MaxHintSize(f.end.Offset))
	if err != nil {
		return 0
	}
	defer hint.Close()
	count, _ := segment.ReadHintCount(hint, size) // 0 with an error
	return int(min(int64(count), f.end.Offset/segment.RecordHeaderSize))
}

// work does what there is to do, until nothing is left or something has failed.
func (l *loading) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil {
		switch {
		case len(l.sorted) > 0:
			p := pop(&l.sorted)
			l.mu.Unlock()
			expiring := new(expiries)
			l.store.loadPart(p, expiring)
			l.mu.Lock()
			p.file.expiring.merge(expiring)
			if p.of.left--; p.of.left == 0 {
				l.spare = append(l.spare, p.of.records)
			}
		case len(l.stretches) > 0:
			one := pop(&l.stretches)
			rest := one
			if rest.from += stretchEntries; rest.from < rest.hint.Len() {
				l.stretches = append(l.stretches, rest)
			}
			inOrder, byPart := l.memory(), l.memory()
			l.produce(func() func() {
				var sorted []part
				inOrder, sorted = l.store.sortStretch(one, l.parts, inOrder, byPart)
				return func() {
					l.sorted = append(l.sorted, sorted...)
					l.spare = append(l.spare, inOrder)
				}
			})
		case len(l.files) > 0:
			f := l.files[0]
			l.files = l.files[1:]
			l.produce(func() func() {
				hint, rebuilt, err := l.store.hintAtOpen(f)
				return func() { l.hintRead(f, hint, rebuilt, err) }
			})
		case l.producing > 0:
			l.changed.Wait()
		default:
			return
		}
	}
}

// memory is what is left of another batch, if there is something.
func (l *loading) memory() []loaded {
	if len(l.spare) == 0 {
		return nil
	}
	return pop(&l.spare)
}

func pop[T any](list *[]T) T {
	last := len(*list) - 1
	one := (*list)[last]
	clear((*list)[last:])
	*list = (*list)[:last]
	return one
}

// produce makes something to do without the lock, and what it returns lists that with
// the lock.
func (l *loading) produce(something func() (list func())) {
	l.producing++
	l.mu.Unlock()
	list := something()
	l.mu.Lock()
	l.producing--
	list()
	l.changed.Broadcast()
}

// hintRead lists what there is to do of a hint, and notes what it says of its file.
func (l *loading) hintRead(f *file, hint *segment.Hint, rebuilt bool, err error) {
	if err != nil {
		l.err = errors.Join(l.err, err)
		return
	}
	s := l.store
	if rebuilt {
		s.recovery.HintsRebuilt++
	}
	f.hintDue.Add(hint.Size())
	s.noteUnreadable(f, hint.Damages())
	if hint.Len() > 0 {
		l.stretches = append(l.stretches, stretch{f, hint, 0})
	}
}

// mostRanges is how many ranges of one file Open tells of one by one.
const mostRanges = 1000

// noteUnreadable notes the ranges of a file that cannot be read.
func (s *Store) noteUnreadable(f *file, ranges []segment.Damage) {
	for i, d := range ranges {
		f.damaged.Store(true)
		s.hides.Store(true)
		if more := len(ranges) - i; i == mostRanges && more > 1 {
			last := ranges[len(ranges)-1]
			s.noteDamage(segment.FileName(f.ID), d.Offset, fmt.Sprintf("%d more ranges, up to %d, cannot be read", more, last.Offset+last.Length))
			return
		}
		s.noteDamage(segment.FileName(f.ID), d.Offset, fmt.Sprintf("%d bytes cannot be read", d.Length))
	}
}

// hintAtOpen reads a file's hint, or makes it anew.
func (s *Store) hintAtOpen(f *file) (hint *segment.Hint, rebuilt bool, err error) {
	if hint, err = s.readHint(f); err == nil {
		f.built = nil
		return hint, false, nil
	}
	hint, err = s.rebuildHint(f, nil)
	if err != nil && !errors.Is(err, ErrFailed) { // else it was read, and could not be written down
		err = unusable(segment.FileName(f.ID), err)
	}
	return hint, true, err
}

// sortStretch divides the records of a stretch by parts of the index, and notes what
// they say of their file. It uses the memory that it is given, and returns that which
// is not in the parts.
func (s *Store) sortStretch(one stretch, parts int, inOrder, byPart []loaded) (left []loaded, list []part) {
	f, hint := one.file, one.hint
	to := min(one.from+stretchEntries, hint.Len())
	inOrder = slices.Grow(inOrder[:0], to-one.from)[:to-one.from]
	ends := make([]int, parts)
	now := s.now().UnixMilli()
	for i := range inOrder {
		e := hint.At(one.from + i)
		print := s.hasher.Fingerprint(e.Key)
		inOrder[i] = loaded{print.Hash, s.locate(f, &e, now), e.Size, e.Expiry, print.Check, uint16(len(e.Key))}
		ends[index.Part(print.Hash, parts)]++
	}
	begin := 0
	for i, count := range ends {
		ends[i] = begin // until the records are there
		begin += count
	}
	byPart = slices.Grow(byPart[:0], len(inOrder))[:len(inOrder)]
	for i := range inOrder {
		end := &ends[index.Part(inOrder[i].hash, parts)]
		byPart[*end] = inOrder[i]
		*end++
	}
	of := &batch{records: byPart}
	begin = 0
	for _, end := range ends {
		if end > begin {
			list = append(list, part{f, byPart[begin:end], of})
			of.left++
		}
		begin = end
	}
	return inOrder, list
}

// locate is the location of a record of a hint, and for one that reads do not find
// that which holds its key's place.
func (s *Store) locate(f *file, e *segment.HintEntry, now int64) index.Location {
	size := e.Size
	if e.Flags != 0 {
		f.mayShadow.Store(true)
		switch {
		case e.Flags&segment.Tombstone != 0:
			size = 0
		case e.Flags&segment.Expires != 0 && e.Expiry <= now:
			size = 0
			s.hides.Store(true)
		}
	}
	return index.MakeLocation(f.slot, e.Offset, size)
}

// loadPart puts records into the index, and notes which of them will expire.
func (s *Store) loadPart(p part, expiring *expiries) {
	var live, liveHints int64
	keys := s.files.keys.Loader()
	defer keys.Done()
	for i := range p.records {
		if ahead := i + prefetchAhead; ahead < len(p.records) {
			s.files.keys.Prefetch(p.records[ahead].hash)
		}
		r := &p.records[i]
		if !s.load(&keys, r) {
			continue
		}
		live, liveHints = live+r.size, liveHints+segment.HintEntrySize(int(r.keySize))
		if r.expiry != 0 {
			expiring.add(r.size, r.expiry)
		}
	}
	p.file.liveBytes.Add(live)
	p.file.liveHints.Add(liveHints)
}

// load puts one record into the index, and says whether it is one that reads can
// find, unless a younger one comes.
func (s *Store) load(keys *index.Loader, r *loaded) bool {
	loser, _ := keys.PutNewer(index.Fingerprint{Hash: r.hash, Check: r.check}, r.location)
	if loser == r.location {
		return false
	}
	if loser != index.NoLocation && !loser.Tombstone() {
		older := s.live.Load().file(loser)
		older.addLive(older.recordSize(loser), int(r.keySize), -1)
	}
	return !r.location.Tombstone()
}
