package mmapkv

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// An open store that nobody uses costs next to nothing, so a process may have thousands. No
// store has a timer: all stores of the process share one clock (internal/tick). Once a second it
// makes each store glance at what nobody reports to it. A glance never blocks. A goroutine does
// the work that a glance finds.
//
// One thing that nobody reports is that the store's files are gone: somebody removes the
// directory, or puts another MANIFEST in its place. Writes then go to files without a name, and
// are lost when these are closed. So the store has failed once it notices that. A directory that
// was renamed is still there.

const (
	// idleGlances is how many seconds pass between two wake-ups of the compactor, which
	// finds garbage that nobody reports.
	idleGlances = 10
	// fewFiles is the maximum number of files that a glance itself checks for being in
	// memory. A goroutine checks more.
	fewFiles = 4
)

// watcher is the state of the glances. Only one glance runs at a time.
type watcher struct {
	end     func()
	glances int
	looking atomic.Bool // a goroutine does what the last glance found, and has the fields below
	names   vfs.Stamp   // of the directory, when last seen
	again   bool        // the names must be looked at once more
}

// startWatch starts the glances. Close ends them with endWatch.
func (s *Store) startWatch() { s.watcher.end = s.options.every(s.glance) }

// endWatch ends the glances. None runs once it returns.
func endWatch(s *Store) {
	if s.watcher.end != nil {
		s.watcher.end()
	}
}

// glance is called once a second, by the clock of all stores.
func (s *Store) glance() {
	rank.Acquire[rank.Background]() // Close waits for it
	defer rank.Release[rank.Background]()
	w := &s.watcher
	if w.glances++; w.glances%idleGlances == 0 {
		s.compactor.Wake()
	}
	set := s.catalog.Set()
	if set == nil || w.looking.Load() {
		return
	}
	few := len(set.Order) <= fewFiles
	if few {
		s.residency.Look()
	}
	changed := !s.options.ReadOnly && w.namesChanged(s.catalog.Dir)
	held := s.holds.any()
	if few && !changed && !held {
		return
	}
	w.looking.Store(true)
	s.background("watch", func() {
		defer w.looking.Store(false)
		if !few {
			s.residency.Look()
		}
		if changed {
			s.catalog.LookAtNames()
		}
		if held {
			lookAtSnapshots(s)
		}
	})
}

// namesChanged reports whether the directory's names may have changed since they were last looked
// at. The system's clock is coarse: two changes can have the same time, and the first one may be
// seen alone. So the names are looked at once more a second later.
func (w *watcher) namesChanged(dir vfs.Dir) bool {
	stamp, err := vfs.StampOf(dir)
	if err != nil {
		return true
	}
	changed := stamp != w.names || w.again
	w.again = stamp != w.names
	w.names = stamp
	return changed
}

// stepWatch is the watch of a test that takes the background's steps.
func (s *Store) stepWatch() (did bool, err error) {
	lookAtSnapshots(s)
	if s.options.ReadOnly || s.latch.Err() != nil {
		return false, nil
	}
	s.catalog.LookAtNames()
	return false, s.latch.Err()
}
