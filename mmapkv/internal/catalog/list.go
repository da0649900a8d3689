package catalog

import (
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// FileSet is everything that a reader needs, published as one. It never changes once a reader
// can see it, except for the index inside.
type FileSet struct {
	Keys  *index.KeyDir // where each key lies
	Files []*File       // by slot; nil where no file has the slot
	Order []*File       // by age, oldest first

	// Partial says that Keys may lack records of some files, which are still being loaded: see
	// package load. Absence from Keys then means nothing.
	Partial bool
	// Moving says that a compaction moves records from files of Order to another one. A record that
	// was moved keeps its bit, whatever becomes of it: see package alive.
	Moving bool
}

// NewFileSet makes a set of files that have their slots, oldest first.
func NewFileSet(keys *index.KeyDir, order []*File) *FileSet {
	l := &FileSet{Keys: keys, Order: order}
	for _, f := range order {
		l.put(f)
	}
	return l
}

// File returns the file that a location points into, nil if it is gone.
func (l *FileSet) File(loc index.Location) *File {
	if slot := int(loc.Slot()); slot < len(l.Files) {
		return l.Files[slot]
	}
	return nil
}

// put enters a file under its slot.
func (l *FileSet) put(f *File) {
	if need := int(f.Slot) + 1; need > len(l.Files) {
		l.Files = append(l.Files, make([]*File, need-len(l.Files))...)
	}
	l.Files[f.Slot] = f
}

// FileList is the list of files, and publishes it to readers.
type FileList struct {
	// Mu guards Order, beside, nextSlot and partial, and each file's End, Ended, Active and NeededBy.
	Mu       rank.Mutex[rank.Files]
	Order    []*File // by age, oldest first
	beside   *File   // what compaction has made and not yet put into Order
	nextSlot uint32  // where the search for a free slot goes on
	partial  bool    // FileSet.Partial of the next set

	// Keys is the index of all files. Open may replace it before it is published, and Drop
	// forgets it when Close has waited for everybody who uses it without Mu.
	Keys      *index.KeyDir
	published *atomic.Pointer[FileSet] // where sets are published
}

// Add appends a file as the youngest, and publishes the set.
func (s *FileList) Add(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.AddLocked(f)
	s.publishLocked()
}

// AddLocked is Add without publishing. The caller holds Mu, or is Open.
func (s *FileList) AddLocked(f *File) {
	s.giveSlotLocked(f)
	s.Order = append(s.Order, f)
}

// minSlotRound is the smallest number of slots in a round.
const minSlotRound = 4096

// giveSlotLocked gives a file the next free slot, going round. So a location that was read
// long ago does not soon point into another file, as it would if the lowest slot came first. While
// files are loaded the slots follow the age of the files, so one round is all there is: see
// SlotsLeft.
func (s *FileList) giveSlotLocked(f *File) {
	round := uint32(min(index.MaxSlots, max(minSlotRound, 4*len(s.Order))))
	if s.partial {
		round = index.MaxSlots
	}
	taken := make([]bool, round)
	for _, other := range s.Order {
		if other.Slot < round { // the round was longer when there were more files
			taken[other.Slot] = true
		}
	}
	for taken[s.nextSlot%round] {
		s.nextSlot++
	}
	f.Slot = s.nextSlot % round
	s.nextSlot = f.Slot + 1
}

// SlotsLeft reports whether another file may be added. While files are loaded, slots are not used
// again, so there are about a million of them.
func (s *FileList) SlotsLeft() bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return !s.partial || s.nextSlot < index.MaxSlots
}

// BeginLoading says that the index lacks records of the files, and publishes the set. Open calls it.
func (s *FileList) BeginLoading() { s.setPartial(true) }

// EndLoading says that the index has the records of all files, and publishes the set.
func (s *FileList) EndLoading() { s.setPartial(false) }

func (s *FileList) setPartial(partial bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.partial = partial
	s.publishLocked()
}

// has reports whether a file is listed.
func (s *FileList) has(f *File) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return slices.Contains(s.Order, f)
}

// Show publishes a file that compaction has made beside the ones that it will replace: the
// index may point into any of them. Order still has only the old ones.
func (s *FileList) Show(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.giveSlotLocked(f)
	s.beside = f
	s.publishLocked()
}

// Replace puts the file given to Show, if there is one, in the place of the old files, which
// the index no longer points into, and publishes the set.
func (s *FileList) Replace(old []*File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	at := slices.Index(s.Order, old[0])
	var with []*File
	if s.beside != nil {
		with = []*File{s.beside}
	}
	s.Order = slices.Concat(s.Order[:at], with, s.Order[at+len(old):])
	s.beside = nil
	s.publishLocked()
}

// Remove takes out a file that the index does not point into, and publishes the set.
func (s *FileList) Remove(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Order = slices.DeleteFunc(s.Order, func(other *File) bool { return other == f })
	s.publishLocked()
}

func (s *FileList) publishLocked() {
	set := NewFileSet(s.Keys, slices.Clone(s.Order))
	set.Partial = s.partial
	if s.beside != nil {
		set.Moving = true
		set.put(s.beside)
	}
	s.published.Store(set)
}

// SealedSeqLocked returns the sequence number that the log had reached at the end of the
// youngest sealed file, 0 if there is none. The caller holds Mu.
func (s *FileList) SealedSeqLocked() (seq uint64) {
	for _, f := range s.Order {
		if f.Active == nil {
			seq = f.End.Seq
		}
	}
	return seq
}

// Finish ends a file: it gets no more records.
func (s *FileList) Finish(f *File, end segment.End) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f.End, f.Ended = end, true
}

// Sealed marks a file as sealed, by clearing its Active.
func (s *FileList) Sealed(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f.Active = nil
}

// Unsealed returns the files that are not sealed, oldest first.
func (s *FileList) Unsealed() []*File {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var files []*File
	for _, f := range s.Order {
		if f.Active != nil {
			files = append(files, f)
		}
	}
	return files
}

// IsEnded returns where a file ends, and whether it gets no more records.
func (s *FileList) IsEnded(f *File) (segment.End, bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return f.End, f.Ended
}

// Publish publishes the set of the files in Order.
func (s *FileList) Publish() {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.publishLocked()
}

// Drop empties the list, forgets the index, and returns the files. It publishes nothing.
func (s *FileList) Drop() (files []*File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	files = s.Order
	s.Order, s.beside, s.Keys = nil, nil, nil
	return files
}

// SealedEnd returns where a file ends, and whether it is sealed.
func (s *FileList) SealedEnd(f *File) (segment.End, bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return f.End, f.Ended && f.Active == nil
}
