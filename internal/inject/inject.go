// Package inject puts a disk, a clock, salts and a hash of a test's own into the
// store that it opens, and hands it the store's background work as steps.
//
// What must hold: a store opened with Seams that name all of these, and with
// Manual set, makes the same file calls, byte for byte, in every run that calls
// the same methods and steps in the same order. Nothing but this package can
// reach the field of the options that it sets.
package inject

import (
	"time"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Seams is what a test puts in the place of the real thing. A zero field leaves
// the real one.
type Seams struct {
	FS        vfs.FS
	Now       func() time.Time
	Random    func() uint64                                // salts of files
	Hash      func(key []byte) (hash uint64, check uint32) // the index's fingerprints
	Every     func(fn func()) (end func())                 // has fn called once a second, until end
	PageSlots int                                          // slots of an index page
	Manual    bool                                         // start no goroutine: the test takes the steps
	OnOpen    func(steps []Step)                           // called by Open with the background steps
	Between   func(phase string)                           // called between the phases of a compaction, by whoever compacts
}

// Step is one kind of background work. Run does at most one piece of it and says
// whether there was any.
type Step struct {
	Name string
	Run  func() (did bool, err error)
}

var set func(options any, s *Seams)

// Register says how seams get into options. The package of the store calls it.
func Register(how func(options any, s *Seams)) { set = how }

// Into puts the seams into the store's options.
func Into(options any, s *Seams) { set(options, s) }
