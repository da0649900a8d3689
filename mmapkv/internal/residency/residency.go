// Package residency says which files are in memory, and brings their pages in.
//
// A read that touches a mapped page which is not in memory waits for the disk in a page
// fault. The Go runtime does not know of that: it loses the processor for as long, and so
// does every goroutine of the process when the garbage collector wants to stop the world.
// So reads bring records of cold files in by system calls, which the runtime can do
// without: AppendGet reads them, and so do the other reads if the record is small. The
// pages of large ones are populated before they are touched. In little memory small records
// are twice as fast to read as to populate, and a page may be gone again before it is
// touched.
//
// What must hold:
//
//   - A file that is not wholly in memory is marked cold within a second, where the system
//     can tell. Elsewhere all files count as being in memory.
//   - A prefault never makes a reader or a writer wait: it steps aside.
package residency

import (
	"fmt"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// maxAsked is how many files Look asks the system about at a time. A store with more
// takes several rounds.
const maxAsked = 256

// Residency keeps the files of a catalog in memory as far as they fit.
type Residency struct {
	catalog *catalog.Catalog
	wake    chan struct{} // holds one token when Run has something to do
	all     atomic.Bool   // and looks at all files

	next int // where Look goes on
}

// New makes the residency of a catalog's files.
func New(c *catalog.Catalog) *Residency {
	return &Residency{catalog: c, wake: make(chan struct{}, 1)}
}

// Look asks whether some of the files are cold. One goroutine calls it at a time.
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

// MarkCold asks which files are cold, and returns those that no longer are.
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

// WarmUp brings the files of a store that is being opened into memory, if preload says so,
// locks them there if the catalog does, and finds out which of them are cold.
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
