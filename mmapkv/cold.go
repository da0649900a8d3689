package mmapkv

import (
	"fmt"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// A read that touches a mapped page which is not in memory waits for the disk in a
// page fault, of which the Go runtime knows nothing: its processor is lost as long,
// and so is every goroutine of the process when the garbage collector wants to stop
// them. So records of files that are not in memory as a whole are brought there by
// system calls, which the runtime can do without: AppendGet reads them, and so do the
// others where they are small. The pages of large ones are populated before they are
// touched. Small ones in little memory are twice as fast to read as to populate, and a
// page may be gone again before it is touched.
//
// Which files those are is asked of the system once a second, where it can tell;
// elsewhere all of them are taken to be in memory.

const (
	// residencyFiles is how many files are asked for at a time; with more of them
	// it takes several rounds.
	residencyFiles = 256
	// headBytes is how much is populated at first of a record whose size is not
	// known.
	headBytes = 4 << 10
	// copyCold is the size of the largest record that is copied though the caller does
	// not ask for a copy.
	copyCold = 64 << 10
	// walkBytes is how much of a cold file is populated at a time by a walk through it.
	walkBytes = 1 << 20
)

// residency is how far the watch has come in asking which files are cold.
type residency struct{ next int }

// lookAtResidency asks of some files whether they are cold.
func (s *Store) lookAtResidency(r *residency) {
	l := s.catalog.Set()
	if l == nil {
		return
	}
	if r.next >= len(l.Order) {
		r.next = 0
	}
	some := l.Order[r.next:min(r.next+residencyFiles, len(l.Order))]
	for _, f := range markCold(some) {
		s.cameIntoMemory(f)
	}
	r.next += len(some)
}

// markCold asks which files are cold, and returns those that no longer are.
func markCold(files []*catalog.File) (warm []*catalog.File) {
	for _, f := range files {
		if !f.Acquire() {
			continue
		}
		cold := f.Memory() != nil && vfs.Resident(f.Handle(), f.Limit()) < 1
		f.Release()
		if f.Cold.Swap(cold) && !cold {
			warm = append(warm, f)
		}
	}
	return warm
}

// fetch populates the pages of the record at an offset of a cold file; size is -1
// when it is not known.
func (f *found) fetch(offset, size int64) {
	limit := f.file.Limit()
	if size >= 0 {
		f.file.Populate(offset, min(offset+size, limit))
		return
	}
	head := f.ahead
	if head < min(offset+headBytes, limit) {
		head = min(offset+headBytes, limit)
		f.file.Populate(offset, head)
	}
	var r segment.Record
	if f.whole && f.file.Record(&r, offset, -1) == nil && offset+r.Size > head {
		f.file.Populate(head, offset+r.Size)
	}
}

// warmUp brings the files into memory as Options.Preload and Options.LockMemory
// have it, and finds out which of them are not there.
func (s *Store) warmUp() error {
	for _, f := range s.catalog.Files.Order {
		if s.options.LockMemory {
			if err := f.Lock(); err != nil {
				return fmt.Errorf("mmapkv: Options.LockMemory: %s: %w", segment.FileName(f.ID), err)
			}
		}
		if s.options.Preload {
			populateWhole(f)
		}
	}
	markCold(s.catalog.Files.Order)
	s.populateAll.Store(true)
	return nil
}
