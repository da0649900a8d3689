package residency

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// The first touch of a mapped page is a fault even when the page is in memory: it costs
// some microseconds, and more on a virtual machine. A file that was just opened, or written
// through its descriptor, has thousands of these faults to come, and readers at a high rate
// fall behind: by 0.2 s after a compaction, where they read 50,000 keys a second. So a
// goroutine puts the pages of files that are in memory into the page tables before readers
// touch them, by a system call.
//
// It also makes the system start writing what was appended to the log. Left alone, that
// stays in memory until somebody needs it durable: under fsync.Never until the file is full
// or compacted. Then all of it goes to the disk at once, and whatever else the machine does
// waits. A virtual machine whose host counts disk work against its processor time stood
// still for up to 29 ms.

const (
	// stretch is how much is prefaulted, and starts to be written, at a time.
	stretch = 1 << 20
	// maxGrown is how many files may have grown or ended since the last look.
	maxGrown = 16
)

// Run is the goroutine that prefaults: all files when the store is opened and when a file
// came back into memory, the youngest ones when the log has grown. It ends when stop is
// closed.
func (r *Residency) Run(stop <-chan struct{}) {
	napper := nap.New()
	defer napper.Close()
	for {
		l := r.catalog.Set()
		if l == nil {
			return
		}
		files := l.Order
		if !r.all.Swap(false) {
			files = files[max(0, len(files)-maxGrown):]
		}
		unsealed := r.catalog.Files.Unsealed()
		for _, f := range slices.Backward(files) {
			for PrefaultNext(f, r.catalog.ReadOnly || !slices.Contains(unsealed, f)) {
				napper.StepAside(true)
				if isClosed(stop) {
					return
				}
			}
		}
		napper.Close() // it rests, perhaps for good
		select {
		case <-stop:
			return
		case <-r.wake:
		}
	}
}

func isClosed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// PrefaultNext prefaults the next stretch of a file that is in memory, and starts writing it
// to the disk if the file still grows. It returns whether there was one. It leaves less than
// a stretch for later, unless the file has ended.
func PrefaultNext(f *catalog.File, ended bool) bool {
	if !f.Acquire() {
		return false
	}
	defer f.Release()
	inMemory := f.Memory() != nil && !f.Cold.Load()
	if ended && !inMemory || f.Dropped.Load() {
		return false
	}
	from, limit := f.Populated.Load(), f.Limit()
	to := min(from+stretch, limit)
	if to <= from || to-from < stretch && !ended {
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

// PrefaultAll prefaults all of a file at once.
func PrefaultAll(f *catalog.File) {
	limit := f.Limit()
	f.Populate(0, limit)
	f.Populated.Store(limit)
}

// Grown says that the file being written has grown to an end. Its leader calls it.
func (r *Residency) Grown(f *catalog.File, end int64) {
	if end-f.Populated.Load() >= stretch {
		r.Wake()
	}
}

// Wake makes Run look for something to do. It does not wait.
func (r *Residency) Wake() {
	pace.Wake(r.wake)
}
