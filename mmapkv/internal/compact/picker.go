package compact

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

// Candidate is a file as the choice sees it.
type Candidate struct {
	*catalog.File
	size, live, garbage int64 // bytes, of which garbage can be had back, by an estimate
	most                int64 // bytes that the index points to, or that are pinned
	dead                bool  // nothing of it is needed, for certain
	Sealed, Eligible    bool
}

// Candidates lists all files, oldest first.
func (c *Compactor) Candidates() []Candidate {
	c.catalog.Files.Mu.Lock()
	defer c.catalog.Files.Mu.Unlock()
	listed := make(map[segment.ID]bool, len(c.catalog.Files.Order))
	list := make([]Candidate, 0, len(c.catalog.Files.Order))
	for _, f := range c.catalog.Files.Order {
		// What older files pin is listed by now, if it is still there.
		one := Candidate{File: f, size: f.RecordBytes(), Sealed: f.Active == nil}
		one.Eligible = one.Sealed && !f.Damaged.Load() && !f.Unreadable.Load()
		one.most = f.LiveBytes.Load()
		one.live, one.dead = one.most, one.most == 0
		for by, bytes := range f.Pins {
			if listed[by] {
				one.live = min(one.live+bytes, one.size)
				one.most += bytes
				one.dead = false
			}
		}
		one.garbage = one.size - one.live
		listed[f.ID] = true
		list = append(list, one)
	}
	return list
}

// bestRun is the run that gives back the most for what has to be copied, nil when
// none is worth it.
func (c *Compactor) bestRun() []*catalog.File {
	list := c.Candidates()
	pressed := c.space.Pressed()
	var best []Candidate
	var bestScore float64
	for i := range list {
		var most int64
		for n := 1; n <= maxRun && i+n <= len(list); n++ {
			run := list[i : i+n]
			newest := run[n-1]
			size, live, garbage := sum(run)
			most += newest.most
			if !newest.Eligible || c.solid(newest) || n > 1 && most > c.rewriteRoom(n) {
				break
			}
			if !c.worthwhile(run, size, garbage, pressed) {
				continue
			}
			// What a file takes beside its records is had back too.
			score := float64(garbage+int64(n-1)*vfs.BlockSize) / float64(live+vfs.BlockSize)
			if score > bestScore {
				best, bestScore = run, score
			}
		}
	}
	return FilesOf(best)
}

// worthwhile says whether the background compacts a run.
func (c *Compactor) worthwhile(run []Candidate, size, garbage int64, pressed bool) bool {
	switch {
	case garbage > 0 && float64(garbage) >= c.GarbageRatio*float64(size):
		return true
	case pressed && garbage > size/16:
		return true
	}
	return len(run) >= smallRun && size <= c.catalog.SegmentSize/2
}

// nextRun is the oldest run behind a file that Compact rewrites, up to the last
// file; nil when there is none.
func (c *Compactor) nextRun(after, last segment.ID) []*catalog.File {
	list := c.Candidates()
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
		n := c.runAt(list, i)
		if n > 1 || n == 1 && list[i].garbage > list[i].size/space.Negligible {
			return FilesOf(list[i : i+n])
		}
	}
	return nil
}

// runAt is how many files from i on go together: those with garbage, and those
// that are small.
func (c *Compactor) runAt(list []Candidate, i int) (n int) {
	var most int64
	for ; n < maxRun && i+n < len(list); n++ {
		one := list[i+n]
		most += one.most
		if !one.Eligible || c.solid(one) || n > 0 && most > c.rewriteRoom(n+1) {
			break
		}
	}
	return n
}

// rewriteRoom is how many bytes of records fit into the file that takes the place of n
// files.
func (c *Compactor) rewriteRoom(n int) int64 {
	header := segment.Header{Replaces: make([]segment.ID, n)}
	return c.catalog.SegmentSize - header.Size()
}

// solid says that a file is not worth copying with others: it holds hardly any
// garbage and is no small one. A long value's file is never small.
func (c *Compactor) solid(one Candidate) bool {
	return one.garbage <= one.size/space.Negligible && one.size > c.catalog.LongSize()
}

// lastSealed is the youngest sealed file.
func (c *Compactor) lastSealed() (id segment.ID) {
	for _, one := range c.Candidates() {
		if one.Sealed {
			id = one.ID
		}
	}
	return id
}

func sum(run []Candidate) (size, live, garbage int64) {
	for _, one := range run {
		size, live, garbage = size+one.size, live+one.live, garbage+one.garbage
	}
	return size, live, garbage
}

func FilesOf(run []Candidate) []*catalog.File {
	var files []*catalog.File
	for _, one := range run {
		files = append(files, one.File)
	}
	return files
}
