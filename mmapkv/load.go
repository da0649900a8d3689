package mmapkv

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// loading fills the index from the hints. Its workers take whatever there is to do,
// pieces of hints that are read first, then files whose hints are not. So they have
// work to the end, however many files there are, and no more hints are in memory
// than there are workers.
type loading struct {
	store *Store

	mu      sync.Mutex // guards the rest, and Store.recovery
	changed sync.Cond  // there is a piece, or nobody reads a hint any more
	files   []*file    // whose hints are not read
	pieces  []piece
	reading int // workers that read a hint
	err     error
}

// piece is a part of a file's hint.
type piece struct {
	file     *file
	hint     *segment.Hint
	from, to int // entries
}

// pieceEntries is how many entries a piece has.
const pieceEntries = 16 << 10

// loadIndex fills the index. Which file is younger decides between two records of
// a key, whoever comes first; a tombstone or an expired record holds its key's
// place until all are in.
func (s *Store) loadIndex() error {
	s.sizeIndex()
	l := &loading{store: s, files: s.files.order}
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
	hint, err := s.dir.OpenReadOnly(segment.HintName(f.ID))
	if err != nil {
		return 0
	}
	defer hint.Close()
	size, err := hint.Size()
	if err != nil || size > segment.MaxHintSize(f.end.Offset) {
		return 0
	}
	count, _ := segment.ReadHintCount(hint, size) // 0 with an error
	return count
}

// work does what there is to do, until nothing is left or something has failed.
func (l *loading) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil {
		switch {
		case len(l.pieces) > 0:
			last := len(l.pieces) - 1
			p := l.pieces[last]
			l.pieces = l.pieces[:last]
			l.mu.Unlock()
			expiring := new(expiries)
			l.store.loadPiece(p, expiring)
			l.mu.Lock()
			p.file.expiring.merge(expiring)
		case len(l.files) > 0:
			f := l.files[0]
			l.files = l.files[1:]
			l.reading++
			l.mu.Unlock()
			hint, rebuilt, err := l.store.hintAtOpen(f)
			l.mu.Lock()
			l.reading--
			l.hintRead(f, hint, rebuilt, err)
			l.changed.Broadcast()
		case l.reading > 0:
			l.changed.Wait()
		default:
			return
		}
	}
}

// hintRead makes pieces of a hint, and notes what it says of its file.
func (l *loading) hintRead(f *file, hint *segment.Hint, rebuilt bool, err error) {
	if err != nil {
		l.err = errors.Join(l.err, err)
		return
	}
	s := l.store
	if rebuilt {
		s.recovery.HintsRebuilt++
	}
	for _, d := range hint.Damages() {
		f.damaged.Store(true)
		s.hides.Store(true)
		s.noteDamage(segment.FileName(f.ID), d.Offset, fmt.Sprintf("%d bytes cannot be read", d.Length))
	}
	for from := 0; from < hint.Len(); from += pieceEntries {
		l.pieces = append(l.pieces, piece{f, hint, from, min(from+pieceEntries, hint.Len())})
	}
}

// hintAtOpen reads a file's hint, or makes it anew.
func (s *Store) hintAtOpen(f *file) (hint *segment.Hint, rebuilt bool, err error) {
	if hint, err = s.readHint(f); err == nil {
		return hint, false, nil
	}
	hint, err = s.rebuildHint(f, nil)
	if err != nil && !errors.Is(err, ErrFailed) { // else it was read, and could not be written down
		err = unusable(segment.FileName(f.ID), err)
	}
	return hint, true, err
}

// loadPiece puts records into the index, and notes which of them will expire.
func (s *Store) loadPiece(p piece, expiring *expiries) {
	var prints [manyAtOnce]index.Fingerprint
	var live, liveHints, allHints int64
	now := s.now().UnixMilli()
	for from := p.from; from < p.to; from += len(prints) {
		n := min(len(prints), p.to-from)
		for i := range n {
			prints[i] = s.hasher.Fingerprint(p.hint.Key(from + i))
			s.files.keys.Prefetch(prints[i].Hash)
		}
		for i := range n {
			e := p.hint.At(from + i)
			hintSize := segment.HintEntrySize(len(e.Key))
			allHints += hintSize
			if s.loadEntry(p.file, &e, prints[i], now) {
				live, liveHints = live+e.Size, liveHints+hintSize
				if e.Expiry != 0 {
					expiring.add(e.Size, e.Expiry)
				}
			}
		}
	}
	p.file.liveBytes.Add(live)
	p.file.liveHints.Add(liveHints)
	p.file.hintDue.Add(allHints)
}

// loadEntry puts one record into the index, and says whether it is one that reads
// can find, unless a younger one comes.
func (s *Store) loadEntry(f *file, e *segment.HintEntry, print index.Fingerprint, now int64) bool {
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
	loc := index.MakeLocation(f.slot, e.Offset, size)
	loser, _ := s.files.keys.PutNewer(print, loc)
	if loser == loc {
		return false
	}
	if loser != index.NoLocation && !loser.Tombstone() {
		older := s.live.Load().file(loser)
		older.addLive(older.recordSize(loser), len(e.Key), -1)
	}
	return size > 0
}
