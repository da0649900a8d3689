package compact

import (
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// The picker chooses which files are compacted together. A run has one output, so its live
// records must fit into one segment.

const (
	// maxRun is the maximum number of files in a run.
	maxRun = 64
	// smallRun is how many adjacent small files are merged even though they hold no garbage.
	smallRun = 8
)

// Candidate is a file as the picker sees it. Sizes are in bytes. Candidate is exported for tests.
type Candidate struct {
	*catalog.File
	size, live, garbage int64 // garbage is an estimate of what a compaction reclaims
	maxLive             int64 // what the index points to, or older files need
	dead                bool  // nothing of it is needed, for certain
	// Sealed files get no more records. Eligible ones are sealed and not known to be damaged.
	Sealed, Eligible bool
}

// Candidates lists all files, oldest first. It is exported for tests.
func (c *Compactor) Candidates() []Candidate {
	c.catalog.Files.Mu.Lock()
	defer c.catalog.Files.Mu.Unlock()
	listed := make(map[segment.ID]bool, len(c.catalog.Files.Order))
	list := make([]Candidate, 0, len(c.catalog.Files.Order))
	for _, f := range c.catalog.Files.Order {
		// An older file that needs something here has been listed by now, if it still exists.
		one := Candidate{File: f, size: f.RecordBytes(), Sealed: f.Active == nil}
		one.Eligible = one.Sealed && !f.Damaged.Load() && !f.Unreadable.Load()
		one.maxLive = f.LiveBytes.Load()
		one.live, one.dead = one.maxLive, one.maxLive == 0
		for by, bytes := range f.NeededBy {
			if listed[by] {
				one.live = min(one.live+bytes, one.size)
				one.maxLive += bytes
				one.dead = false
			}
		}
		one.garbage = one.size - one.live
		listed[f.ID] = true
		list = append(list, one)
	}
	return list
}

// bestRun returns the run that reclaims the most for what has to be copied; nil if no run is
// worth it.
func (c *Compactor) bestRun() []*catalog.File {
	list := c.Candidates()
	pressed := c.space.Pressed()
	var best []Candidate
	var bestScore float64
	for i := range list {
		var maxLive int64
		for n := 1; n <= maxRun && i+n <= len(list); n++ {
			run := list[i : i+n]
			newest := run[n-1]
			size, live, garbage := sum(run)
			maxLive += newest.maxLive
			if !newest.Eligible || c.solid(newest) || n > 1 && maxLive > c.rewriteRoom(n) {
				break
			}
			if !c.worthwhile(run, size, garbage, pressed) {
				continue
			}
			// The space that a file takes besides its records is reclaimed too.
			score := float64(garbage+int64(n-1)*vfs.BlockSize) / float64(live+vfs.BlockSize)
			if score > bestScore {
				best, bestScore = run, score
			}
		}
	}
	return FilesOf(best)
}

// worthwhile reports whether the background compacts a run.
func (c *Compactor) worthwhile(run []Candidate, size, garbage int64, pressed bool) bool {
	switch {
	case garbage > 0 && float64(garbage) >= c.GarbageRatio*float64(size):
		return true
	case pressed && garbage > size/16:
		return true
	}
	return len(run) >= smallRun && size <= c.catalog.SegmentSize/2
}

// nextRun returns the oldest run after one file, and up to the last file, that Compact rewrites;
// nil if there is none.
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

// runAt returns how many files from i on belong together: those with garbage, and small ones.
func (c *Compactor) runAt(list []Candidate, i int) (n int) {
	var maxLive int64
	for ; n < maxRun && i+n < len(list); n++ {
		one := list[i+n]
		maxLive += one.maxLive
		if !one.Eligible || c.solid(one) || n > 0 && maxLive > c.rewriteRoom(n+1) {
			break
		}
	}
	return n
}

// rewriteRoom returns how many bytes of records fit into the file that replaces n files.
func (c *Compactor) rewriteRoom(n int) int64 {
	header := segment.Header{Replaces: make([]segment.ID, n)}
	return c.catalog.SegmentSize - header.Size()
}

// solid reports that a file is not worth copying with others: it has hardly any garbage, and it
// is not small. A long value's file is never small.
func (c *Compactor) solid(one Candidate) bool {
	return one.garbage <= one.size/space.Negligible && one.size > c.catalog.LongSize()
}

// lastSealed returns the newest sealed file.
func (c *Compactor) lastSealed() (id segment.ID) {
	for _, one := range c.Candidates() {
		if one.Sealed {
			id = one.ID
		}
	}
	return id
}

// sum adds up the sizes of a run.
func sum(run []Candidate) (size, live, garbage int64) {
	for _, one := range run {
		size, live, garbage = size+one.size, live+one.live, garbage+one.garbage
	}
	return size, live, garbage
}

// FilesOf returns the files of a run. It is exported for tests.
func FilesOf(run []Candidate) []*catalog.File {
	var files []*catalog.File
	for _, one := range run {
		files = append(files, one.File)
	}
	return files
}
