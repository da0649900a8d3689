// Package residency says which files are in memory, and prefaults their pages.
//
// A read that touches a mapped page which is not in memory waits for the disk in a page fault. The
// Go runtime does not notice: it loses the processor until the page is there, and if the garbage
// collector wants to stop the world, every goroutine of the process waits too. So reads of cold
// files use system calls, during which the runtime does without the goroutine. AppendGet reads the
// record that way, and so do the other reads if the record is small. If it is large, they populate
// its pages before they touch them. When memory is scarce, small records are twice as fast to read
// as to populate, and a page may be gone again before it is touched.
//
// What must hold:
//
//   - A file that is not wholly in memory is soon marked cold: within a second in a store of up to
//     maxAsked files. Where the system cannot tell, all files count as in memory.
//   - A prefault never makes a reader or a writer wait: it steps aside.
package residency

import (
	"fmt"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// Residency marks the cold files of a catalog, and prefaults the others.
type Residency struct {
	catalog *catalog.Catalog
	wake    chan struct{} // holds one token when Run has something to do
	all     atomic.Bool   // Run is to look at all files, and not only at the youngest
	next    int           // where Look goes on
}

// New makes the Residency of a catalog's files.
func New(c *catalog.Catalog) *Residency {
	return &Residency{catalog: c, wake: make(chan struct{}, 1)}
}

// WarmUp is for a store that is being opened. It locks the files in memory if the catalog's options
// say so, prefaults them if preload is set, and marks which are cold. Its error says that a file
// could not be locked.
func (r *Residency) WarmUp(preload bool) error {
	for _, f := range r.catalog.Files.Order {
		if r.catalog.LockMemory {
			if err := f.Lock(); err != nil {
				return fmt.Errorf("mmapkv: Options.LockMemory: %s: %w", segment.FileName(f.ID), err)
			}
		}
		if preload {
			PrefaultAll(f)
		}
	}
	MarkCold(r.catalog.Files.Order)
	r.all.Store(true)
	return nil
}

// maxAsked is the largest number of files that Look asks the system about.
const maxAsked = 256

// Look marks which files are cold, and wakes Run for those that no longer are. In a store of more
// than maxAsked files each call looks at the next ones. One goroutine calls it at a time.
func (r *Residency) Look() {
	l := r.catalog.Set()
	if l == nil {
		return
	}
	if r.next >= len(l.Order) {
		r.next = 0
	}
	some := l.Order[r.next:min(r.next+maxAsked, len(l.Order))]
	for _, f := range MarkCold(some) {
		f.Populated.Store(0)
		r.all.Store(true)
		r.Wake()
	}
	r.next += len(some)
}

// MarkCold asks the system which of the files are cold, sets their Cold, and returns those that no
// longer are.
func MarkCold(files []*catalog.File) (warm []*catalog.File) {
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
