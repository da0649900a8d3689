package catalog

import (
	"slices"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// FileSet is what a reader needs, published as one: it never changes once a reader
// can see it, but for the index inside.
type FileSet struct {
	Keys  *index.KeyDir
	Files []*File // by slot; nil where no file has the slot
	Order []*File // by age, oldest first
}

// NewFileSet makes a set of files, which have their slots.
func NewFileSet(keys *index.KeyDir, order []*File) *FileSet {
	l := &FileSet{Keys: keys, Order: order}
	for _, f := range order {
		l.put(f)
	}
	return l
}

// File returns the file that a location points into, nil when it is gone.
func (l *FileSet) File(loc index.Location) *File {
	if slot := int(loc.Slot()); slot < len(l.Files) {
		return l.Files[slot]
	}
	return nil
}

// put puts a file where its slot says.
func (l *FileSet) put(f *File) {
	if need := int(f.Slot) + 1; need > len(l.Files) {
		l.Files = append(l.Files, make([]*File, need-len(l.Files))...)
	}
	l.Files[f.Slot] = f
}

// FileList is the list of files, by age, and the places where they are published.
type FileList struct {
	Mu       rank.Mutex[rank.Files] // guards order, beside, nextSlot and every file's end, ended, active
	Order    []*File
	beside   *File // what compaction has made and not yet put into order
	nextSlot uint32
	Keys     *index.KeyDir
	current  *atomic.Pointer[FileSet]
}

// Add appends a file, the youngest, and publishes the set.
func (s *FileList) Add(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.AddLocked(f)
	s.publishLocked()
}

func (s *FileList) AddLocked(f *File) {
	s.giveSlotLocked(f)
	s.Order = append(s.Order, f)
}

// slotRound is how many slots go by, at least, before one is used again.
const slotRound = 4096

// giveSlotLocked gives a file a slot. Slots go round rather than being reused
// lowest first, so that a location read long ago does not soon point into another
// file.
func (s *FileList) giveSlotLocked(f *File) {
	round := uint32(min(index.MaxSlots, max(slotRound, 4*len(s.Order))))
	taken := make([]bool, round)
	for _, other := range s.Order {
		if other.Slot < round { // the round was longer while there were more files
			taken[other.Slot] = true
		}
	}
	for taken[s.nextSlot%round] {
		s.nextSlot++
	}
	f.Slot = s.nextSlot % round
	s.nextSlot = f.Slot + 1
}

// has says whether a file is listed.
func (s *FileList) has(f *File) bool {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return slices.Contains(s.Order, f)
}

// Show publishes a file that compaction has made beside those whose place it
// will take: the index may point into any of them. Who goes through the files by
// age still sees the old ones.
func (s *FileList) Show(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.giveSlotLocked(f)
	s.beside = f
	s.publishLocked()
}

// Replace puts the file that is shown beside, if there is one, in the place of
// the old ones, which nothing in the index points to any more.
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

// Remove takes out a file that nothing in the index points to.
func (s *FileList) Remove(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Order = slices.DeleteFunc(s.Order, func(other *File) bool { return other == f })
	s.publishLocked()
}

func (s *FileList) publishLocked() {
	set := NewFileSet(s.Keys, slices.Clone(s.Order))
	if s.beside != nil {
		set.put(s.beside)
	}
	s.current.Store(set)
}

// SealedSeqLocked is the sequence number that the log had reached at the end of the
// youngest sealed file, 0 if there is none.
func (s *FileList) SealedSeqLocked() (seq uint64) {
	for _, f := range s.Order {
		if f.Active == nil {
			seq = f.End.Seq
		}
	}
	return seq
}

// Finish marks the end of a file that gets no more records.
func (s *FileList) Finish(f *File, end segment.End) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f.End, f.Ended = end, true
}

// Sealed takes the writer's handle from a file.
func (s *FileList) Sealed(f *File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f.Active = nil
}

// Unsealed lists the files that are not sealed, oldest first.
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

// IsEnded says whether a file gets no more records, and where it ends.
func (s *FileList) IsEnded(f *File) (segment.End, bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return f.End, f.Ended
}

// Publish publishes the set as it is.
func (s *FileList) Publish() {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.publishLocked()
}

// Drop forgets all files, which it returns, and the index.
func (s *FileList) Drop() (files []*File) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	files = s.Order
	s.Order, s.beside, s.Keys = nil, nil, nil
	return files
}
