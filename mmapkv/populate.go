package mmapkv

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// The first touch of a mapped page is a fault, also when the page is in memory: some
// microseconds, and more on a virtual machine. A file that was just opened, or written
// through its descriptor, has thousands of them to come, and readers at a high rate
// fall behind: by 0.2 s behind a compaction, where they read 50,000 keys a second. So
// a goroutine puts the pages of files that are in memory into the page tables before
// readers come to them, by a system call.
//
// It also has the system begin to write to the disk what has come to the log. Left
// alone, that lies in memory until somebody needs it durable: under fsync.Never until
// the file is full or compacted. Then all of it goes to the disk at once, and whatever
// else the machine does waits. A virtual machine, whose host counts the work of the disk
// to the processor time that it may have, stood still for up to 29 ms.

const (
	// populateBytes is how much is populated, and begun to be written, at a time.
	populateBytes = 1 << 20
	// growing is how many files may have grown or ended since the last look.
	growing = 16
)

// populate is the goroutine that does so: of all files when the store is opened and
// when one of them has come into memory, of the youngest when the log has grown.
func (s *Store) populate() {
	napper := nap.New()
	defer napper.Close()
	for {
		l := s.catalog.Set()
		if l == nil {
			return
		}
		files := l.Order
		if !s.populateAll.Swap(false) {
			files = files[max(0, len(files)-growing):]
		}
		unsealed := s.catalog.Files.Unsealed()
		for _, f := range slices.Backward(files) {
			for populateNext(f, s.options.ReadOnly || !slices.Contains(unsealed, f)) {
				napper.StepAside(true)
				if s.closed.Load() {
					return
				}
			}
		}
		napper.Close() // it rests, perhaps for ever
		select {
		case <-s.stop:
			return
		case <-s.wakePopulate:
		}
	}
}

// populateNext populates the next stretch of a file that is in memory, and begins to
// write it to the disk if the file still grows. It says whether there was one. What is
// less than a stretch is left for later, unless the file grows no more.
func populateNext(f *catalog.File, ended bool) bool {
	if !f.Acquire() {
		return false
	}
	defer f.Release()
	inMemory := f.Memory() != nil && !f.Cold.Load()
	if ended && !inMemory || f.Dropped.Load() {
		return false
	}
	from, limit := f.Populated.Load(), f.Limit()
	to := min(from+populateBytes, limit)
	if to <= from || to-from < populateBytes && !ended {
		return false
	}
	if inMemory {
		f.Populate(from, to)
	}
	if !ended {
		vfs.Flush(f.Handle(), from, to-from)
	}
	return f.Populated.CompareAndSwap(from, to)
}

// populateWhole populates all of a file at once.
func populateWhole(f *catalog.File) {
	limit := f.Limit()
	f.Populate(0, limit)
	f.Populated.Store(limit)
}

// grown is called by the leader when the tail has grown.
func (t *tail) grown(s *Store) {
	if t.end.Offset-t.file.Populated.Load() >= populateBytes {
		s.wakePopulation()
	}
}

// wakePopulation has populate look for something to do.
func (s *Store) wakePopulation() {
	wake(s.wakePopulate)
}

// cameIntoMemory is called when a file is in memory that was not.
func (s *Store) cameIntoMemory(f *catalog.File) {
	f.Populated.Store(0)
	s.populateAll.Store(true)
	s.wakePopulation()
}
