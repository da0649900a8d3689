package mmapkv

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// An open store that nobody uses costs next to nothing, so that a process may have
// thousands. No timer of its own wakes it: all stores of the process share one clock
// (internal/tick), which has each of them glance once a second at what nobody tells it
// of. The glance blocks on nothing. What it finds to do, a goroutine does.
//
// One of these things is that the store's files are gone: somebody removes the
// directory, or puts another MANIFEST in its place. Writes go on then into files without
// a name, and are lost when they are closed. So the store has failed when that is found.
// A directory that is renamed is still there.

const (
	// idleGlances is how many seconds go by between two looks of the background for
	// garbage that made no noise, such as records that have expired.
	idleGlances = 10
	// fewFiles is of how many files a glance itself asks whether they are in memory.
	fewFiles = 4
)

// watcher is what the glances know. They come one at a time.
type watcher struct {
	end     func()
	glances int
	looking atomic.Bool // a goroutine does what the last one found; it has what follows
	names   vfs.Stamp   // of the directory, when last seen
	again   bool        // the names are to be looked at once more
}

// startWatch begins the glances. Close ends them by endWatch.
func (s *Store) startWatch() { s.watcher.end = s.options.every(s.glance) }

func (s *Store) endWatch() {
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
	l := s.catalog.Set()
	if l == nil || w.looking.Load() {
		return
	}
	few := len(l.Order) <= fewFiles
	if few {
		s.residency.Look()
	}
	changed := !s.options.ReadOnly && w.namesChanged(s.catalog.Dir)
	if few && !changed {
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
	})
}

// namesChanged says whether the directory's names may be others than when they were
// last looked at. The system's clock is so coarse that two changes can bear the same
// time, and the first be seen alone; so they are looked at once more a second later.
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

// stepWatch is the watch for a test that takes the background's steps.
func (s *Store) stepWatch() (did bool, err error) {
	if s.options.ReadOnly || s.latch.Err() != nil {
		return false, nil
	}
	s.catalog.LookAtNames()
	return false, s.latch.Err()
}
