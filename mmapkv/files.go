package mmapkv

import (
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/segment"
)

// file is one segment of the store with what the writing side knows of it.
type file struct {
	*segment.Segment
	slot      uint32   // its number in the index's locations
	name      fileName // which file it is by its name, while it is unsealed
	dataStart int64
	capacity  int64        // where the log goes on in another file
	dropped   atomic.Bool  // compaction has put another file in its place
	cold      atomic.Bool  // not all of it is in memory: see cold.go
	populated atomic.Int64 // up to where its pages are in the page tables: see populate.go

	// live is what of the file the index points to, and its hint's entries.
	liveBytes, liveHints atomic.Int64
	hintBytes            atomic.Int64         // what its hint takes; 0 while it has none
	hintDue              atomic.Int64         // what it takes about, once it has one
	built                *segment.HintBuilder // by a recovery that may not write it, for loading
	mayShadow            atomic.Bool          // it has tombstones or records that expire

	// expiring is where what of the file expires and when, nil while nothing does, and
	// expired what the sweep, or Open, has found to have done so, in bytes.
	expiring atomic.Pointer[expiry.Table]
	expired  atomic.Int64
	swept    atomic.Pointer[sweptRecords] // while a compaction has the file in hand

	// pins is what tombstones take that a compaction has kept, or found that it would
	// have to, by the older file that needs them. It is guarded by fileSet.mu once the
	// file is listed.
	pins map[segment.ID]int64

	// damaged, by what Open found, and unreadable, by what a compaction met, keep the
	// file out of compactions.
	damaged, unreadable atomic.Bool

	// active is the writer's handle while the file is unsealed. It is set when
	// the file is made and cleared, under fileSet.mu, when it is sealed.
	active *segment.Active

	// end is where the records end and the sequence number that the log had
	// reached there. It is final once ended is set, both under fileSet.mu.
	end   segment.End
	ended bool
}

// addLive counts a record that the index points to, with a key of keySize bytes,
// or one that it does so no more when sign is -1.
func (f *file) addLive(size int64, keySize int, sign int64) {
	f.liveBytes.Add(sign * size)
	f.liveHints.Add(sign * segment.HintEntrySize(keySize))
}

// recordBytes is what all records of the file occupy, live and dead.
func (f *file) recordBytes() int64 { return max(f.Limit()-f.dataStart, 0) }

// live is what a reader needs, published as one: it never changes once a reader
// can see it, but for the index inside.
type live struct {
	keys  *index.KeyDir
	files []*file // by slot; nil where no file has the slot
	order []*file // by age, oldest first
}

// file returns the file that a location points into, nil when it is gone.
func (l *live) file(loc index.Location) *file {
	if slot := int(loc.Slot()); slot < len(l.files) {
		return l.files[slot]
	}
	return nil
}

// set puts a file where its slot says.
func (l *live) set(f *file) {
	if need := int(f.slot) + 1; need > len(l.files) {
		l.files = append(l.files, make([]*file, need-len(l.files))...)
	}
	l.files[f.slot] = f
}

// fileSet is the list of files, by age, and the places where they are published.
type fileSet struct {
	mu       rank.Mutex[rank.Files] // guards order, beside, nextSlot and every file's end, ended, active
	order    []*file
	beside   *file // what compaction has made and not yet put into order
	nextSlot uint32
	keys     *index.KeyDir
	live     *atomic.Pointer[live]
}

// add appends a file, the youngest, and publishes the set.
func (s *fileSet) add(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(f)
	s.publishLocked()
}

func (s *fileSet) addLocked(f *file) {
	s.giveSlotLocked(f)
	s.order = append(s.order, f)
}

// slotRound is how many slots go by, at least, before one is used again.
const slotRound = 4096

// giveSlotLocked gives a file a slot. Slots go round rather than being reused
// lowest first, so that a location read long ago does not soon point into another
// file.
func (s *fileSet) giveSlotLocked(f *file) {
	round := uint32(min(index.MaxSlots, max(slotRound, 4*len(s.order))))
	taken := make([]bool, round)
	for _, other := range s.order {
		if other.slot < round { // the round was longer while there were more files
			taken[other.slot] = true
		}
	}
	for taken[s.nextSlot%round] {
		s.nextSlot++
	}
	f.slot = s.nextSlot % round
	s.nextSlot = f.slot + 1
}

// has says whether a file is listed.
func (s *fileSet) has(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.order, f)
}

// show publishes a file that compaction has made beside those whose place it
// will take: the index may point into any of them. Who goes through the files by
// age still sees the old ones.
func (s *fileSet) show(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveSlotLocked(f)
	s.beside = f
	s.publishLocked()
}

// replace puts the file that is shown beside, if there is one, in the place of
// the old ones, which nothing in the index points to any more.
func (s *fileSet) replace(old []*file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.order, old[0])
	var with []*file
	if s.beside != nil {
		with = []*file{s.beside}
	}
	s.order = slices.Concat(s.order[:at], with, s.order[at+len(old):])
	s.beside = nil
	s.publishLocked()
}

// remove takes out a file that nothing in the index points to.
func (s *fileSet) remove(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = slices.DeleteFunc(s.order, func(other *file) bool { return other == f })
	s.publishLocked()
}

func (s *fileSet) publishLocked() {
	l := &live{keys: s.keys, order: slices.Clone(s.order)}
	for _, f := range s.order {
		l.set(f)
	}
	if s.beside != nil {
		l.set(s.beside)
	}
	s.live.Store(l)
}

// sealedSeqLocked is the sequence number that the log had reached at the end of the
// youngest sealed file, 0 if there is none.
func (s *fileSet) sealedSeqLocked() (seq uint64) {
	for _, f := range s.order {
		if f.active == nil {
			seq = f.end.Seq
		}
	}
	return seq
}

// finish marks the end of a file that gets no more records.
func (s *fileSet) finish(f *file, end segment.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.end, f.ended = end, true
}

// sealed takes the writer's handle from a file.
func (s *fileSet) sealed(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.active = nil
}

// unsealed lists the files that are not sealed, oldest first.
func (s *fileSet) unsealed() []*file {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []*file
	for _, f := range s.order {
		if f.active != nil {
			files = append(files, f)
		}
	}
	return files
}

// isEnded says whether a file gets no more records, and where it ends.
func (s *fileSet) isEnded(f *file) (segment.End, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.end, f.ended
}

// publish publishes the set as it is.
func (s *fileSet) publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishLocked()
}

// drop forgets all files, which it returns, and the index.
func (s *fileSet) drop() (files []*file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files = s.order
	s.order, s.beside, s.keys = nil, nil, nil
	return files
}

// expiriesOf makes what the file has no more of than one. No record of it begins
// behind size.
func (f *file) expiriesOf(size int64) *expiry.Table {
	t := f.expiring.Load()
	if t == nil {
		f.expiring.CompareAndSwap(nil, expiry.NewTable(size))
		t = f.expiring.Load()
	}
	return t
}
