package mmapkv

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// file is one segment of the store with what the writing side knows of it.
type file struct {
	*segment.Segment
	slot      uint32 // its number in the index's locations
	dataStart int64
	capacity  int64        // where the log goes on in another file
	liveBytes atomic.Int64 // of the records that the index points to

	// active is the writer's handle while the file is unsealed. It is set when
	// the file is made and cleared, under fileSet.mu, when it is sealed.
	active *segment.Active

	// end is where the records end and the sequence number that the log had
	// reached there. It is final once ended is set, both under fileSet.mu.
	end   segment.End
	ended bool
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

// fileSet is the list of files, by age, and the places where they are published.
type fileSet struct {
	mu       sync.Mutex // guards order, nextSlot and every file's end, ended, active
	order    []*file
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

// addLocked appends a file and gives it a slot. Slots go round rather than being
// reused lowest first, so that a location read long ago does not soon point into
// another file.
func (s *fileSet) addLocked(f *file) {
	taken := make(map[uint32]bool, len(s.order))
	for _, other := range s.order {
		taken[other.slot] = true
	}
	for taken[s.nextSlot] {
		s.nextSlot = (s.nextSlot + 1) % index.MaxSlots
	}
	f.slot = s.nextSlot
	s.nextSlot = (s.nextSlot + 1) % index.MaxSlots
	s.order = append(s.order, f)
}

// has says whether a file is listed.
func (s *fileSet) has(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.order, f)
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
		if need := int(f.slot) + 1; need > len(l.files) {
			l.files = append(l.files, make([]*file, need-len(l.files))...)
		}
		l.files[f.slot] = f
	}
	s.live.Store(l)
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

// drop forgets all files and the index.
func (s *fileSet) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order, s.keys = nil, nil
}
