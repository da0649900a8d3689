package mmapkv

import (
	"log/slog"
	"runtime"
)

// An Iterator that its user forgets to close keeps files, and nobody can tell whose they are. So the
// garbage collector ends it, if it ever finds it. That is a safety net: nothing that the store
// promises depends on it.

// expectClose makes the collector end the Iterator if nobody closes it. The hold must have no way
// back to the Iterator, which the collector would otherwise never find.
func (it *Iterator) expectClose() {
	it.cleanup = runtime.AddCleanup(it, (*hold).forgotten, it.hold)
}

// forgotten ends the hold of an Iterator that was not closed, and says so.
func (h *hold) forgotten() {
	if h.end(iteratorEnded) {
		h.store.holds.remove(h)
		h.store.events.message(slog.LevelWarn, "mmapkv: an Iterator was never closed; it has kept files, and their space on disk, until now")
	}
}
