package mmapkv

import (
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// Which files are compacted together. A run has one output, so what is alive in
// it must fit into one segment.

const (
	// maxRun is the largest number of files in a run.
	maxRun = 64
	// smallRun is how many small files next to each other are made one, when they
	// hold no garbage.
	smallRun = 8
)

// candidate is a file as the choice sees it.
type candidate struct {
	*catalog.File
	size, live, garbage int64 // bytes, of which garbage can be had back, by an estimate
	most                int64 // bytes that the index points to, or that are pinned
	dead                bool  // nothing of it is needed, for certain
	sealed, eligible    bool
}

// candidates lists all files, oldest first.
func (s *Store) candidates() []candidate {
	s.catalog.Files.Mu.Lock()
	defer s.catalog.Files.Mu.Unlock()
	listed := make(map[segment.ID]bool, len(s.catalog.Files.Order))
	list := make([]candidate, 0, len(s.catalog.Files.Order))
	for _, f := range s.catalog.Files.Order {
		// What older files pin is listed by now, if it is still there.
		c := candidate{File: f, size: f.RecordBytes(), sealed: f.Active == nil}
		c.eligible = c.sealed && !f.Damaged.Load() && !f.Unreadable.Load()
		c.most = f.LiveBytes.Load()
		c.live, c.dead = c.most, c.most == 0
		for by, bytes := range f.Pins {
			if listed[by] {
				c.live = min(c.live+bytes, c.size)
				c.most += bytes
				c.dead = false
			}
		}
		c.garbage = c.size - c.live
		listed[f.ID] = true
		list = append(list, c)
	}
	return list
}

// bestRun is the run that gives back the most for what has to be copied, nil when
// none is worth it.
func (s *Store) bestRun() []*catalog.File {
	list := s.candidates()
	pressed := s.space.Pressed()
	var best []candidate
	var bestScore float64
	for i := range list {
		var most int64
		for n := 1; n <= maxRun && i+n <= len(list); n++ {
			run := list[i : i+n]
			newest := run[n-1]
			size, live, garbage := sum(run)
			most += newest.most
			if !newest.eligible || s.solid(newest) || n > 1 && most > s.mergeRoom(n) {
				break
			}
			if !s.worthwhile(run, size, garbage, pressed) {
				continue
			}
			// What a file takes beside its records is had back too.
			score := float64(garbage+int64(n-1)*vfs.BlockSize) / float64(live+vfs.BlockSize)
			if score > bestScore {
				best, bestScore = run, score
			}
		}
	}
	return filesOf(best)
}

// worthwhile says whether the background compacts a run.
func (s *Store) worthwhile(run []candidate, size, garbage int64, pressed bool) bool {
	switch {
	case garbage > 0 && float64(garbage) >= s.options.Compaction.GarbageRatio*float64(size):
		return true
	case pressed && garbage > size/16:
		return true
	}
	return len(run) >= smallRun && size <= s.options.SegmentSize/2
}

// nextRun is the oldest run behind a file that Compact rewrites, up to the last
// file; nil when there is none.
func (s *Store) nextRun(after, last segment.ID) []*catalog.File {
	list := s.candidates()
	from := 0
	for i := range list {
		if list[i].ID == after {
			from = i + 1
		}
		if list[i].ID == last {
			list = list[:i+1]
			break
		}
	}
	for i := from; i < len(list); i++ {
		n := s.runAt(list, i)
		if n > 1 || n == 1 && list[i].garbage > list[i].size/space.Negligible {
			return filesOf(list[i : i+n])
		}
	}
	return nil
}

// runAt is how many files from i on go together: those with garbage, and those
// that are small.
func (s *Store) runAt(list []candidate, i int) (n int) {
	var most int64
	for ; n < maxRun && i+n < len(list); n++ {
		c := list[i+n]
		most += c.most
		if !c.eligible || s.solid(c) || n > 0 && most > s.mergeRoom(n+1) {
			break
		}
	}
	return n
}

// mergeRoom is how many bytes of records fit into the file that takes the place of n
// files.
func (s *Store) mergeRoom(n int) int64 {
	header := segment.Header{Replaces: make([]segment.ID, n)}
	return s.options.SegmentSize - header.Size()
}

// solid says that a file is not worth copying with others: it holds hardly any
// garbage and is no small one. A long value's file is never small.
func (s *Store) solid(c candidate) bool {
	return c.garbage <= c.size/space.Negligible && c.size > s.catalog.LongSize()
}

// lastSealed is the youngest sealed file.
func (s *Store) lastSealed() (id segment.ID) {
	for _, c := range s.candidates() {
		if c.sealed {
			id = c.ID
		}
	}
	return id
}

func sum(run []candidate) (size, live, garbage int64) {
	for _, c := range run {
		size, live, garbage = size+c.size, live+c.live, garbage+c.garbage
	}
	return size, live, garbage
}

func filesOf(run []candidate) []*catalog.File {
	var files []*catalog.File
	for _, c := range run {
		files = append(files, c.File)
	}
	return files
}
