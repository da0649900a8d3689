// Package inject lets a test replace the disk, the clock, the salts and the hash of the store
// that it opens, and run the store's background work step by step. The shell command uses it to open
// stores whose index it may not need.
//
// What must hold: a store opened with Seams that replace all of these, and with Manual set,
// makes the same file calls, byte for byte, in every run that calls the same methods and steps
// in the same order. Only this package can reach the field of the options that it sets.
package inject

import (
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Seams holds a test's replacements. A zero field keeps the real thing.
type Seams struct {
	FS        vfs.FS                                       // the disk
	Now       func() time.Time                             // the clock
	Random    func() uint64                                // salts of files
	Hash      func(key []byte) (hash uint64, check uint32) // the index's fingerprints
	Every     func(fn func()) (end func())                 // calls fn once a second until end is called
	PageSlots int                                          // slots of an index page
	PartStep  int64                                        // bytes of the log between two partial hints
	Manual    bool                                         // start no goroutine: the test runs the steps
	Hold      bool                                         // with Manual: the index is loaded by the step "load", not by Open
	OnDemand  bool                                         // the index is loaded once somebody needs it
	OnOpen    func(steps []Step)                           // Open calls it with the background steps
	Between   func(phase string)                           // called between the phases of a compaction, on its goroutine
}

// Step is one kind of background work.
type Step struct {
	// Name says what the work is, in one word.
	Name string
	// Run does at most one piece of the work, and reports whether there was any.
	Run func() (did bool, err error)
}

var set func(options any, s *Seams)

// Register sets the function that puts seams into options. The store's package calls it.
func Register(how func(options any, s *Seams)) { set = how }

// Into puts the seams into the store's options.
func Into(options any, s *Seams) { set(options, s) }
