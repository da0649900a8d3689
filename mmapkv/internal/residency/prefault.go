package residency

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// The first touch of a mapped page is a fault even if the page is in memory. It costs a few
// microseconds, and more on a virtual machine. A file that was just opened, or written through its
// descriptor, has thousands of these faults ahead, and readers at a high rate fall behind: by 0.2 s
// after a compaction, at 50,000 keys read per second. So a goroutine enters the pages of files that
// are in memory into the page tables, by a system call, before readers touch them.
//
// The goroutine also makes the system start writing what was appended to the log. Otherwise that
// stays in memory until somebody needs it durable: under fsync.Never until the file is full or
// compacted. Then all of it goes to the disk at once, and everything else on the machine waits. A
// virtual machine whose host counts disk work against its processor time stopped for up to 29 ms.

const (
	// stretch is the number of bytes that are prefaulted, and start to be written, at a time.
	stretch = 1 << 20
	// maxGrown is the largest number of files that may have grown or ended since Run last looked.
	maxGrown = 16
)

// Run prefaults until stop is closed: all files after Open and when a file came back into memory,
// and the youngest ones when the log has grown. It is a goroutine of its own.
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
		napper.Close() // Run rests, perhaps for good
		select {
		case <-stop:
			return
		case <-r.wake:
		}
	}
}

// PrefaultNext prefaults the next stretch of a file that is in memory. Unless the file has ended,
// it also starts writing the stretch to the disk, even if the file is cold, and leaves less than a
// stretch for later. It reports whether there was something to do.
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

// PrefaultAll prefaults all of a file at once, cold or not.
func PrefaultAll(f *catalog.File) {
	limit := f.Limit()
	f.Populate(0, limit)
	f.Populated.Store(limit)
}

// Grown wakes Run if the file being written has grown by a stretch, to the offset end. The leader
// calls it.
func (r *Residency) Grown(f *catalog.File, end int64) {
	if end-f.Populated.Load() >= stretch {
		r.Wake()
	}
}

// Wake makes Run look for something to do. It does not block.
func (r *Residency) Wake() {
	pace.Wake(r.wake)
}

func isClosed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
