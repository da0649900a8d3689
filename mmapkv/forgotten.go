package mmapkv

import (
	"log/slog"
	"runtime"
)

// An Iterator or a Snapshot that its user forgets to close keeps files, and nobody can tell whose they
// are. So the garbage collector ends it, if it ever finds it. That is a safety net: nothing that the
// store promises depends on it.

// expectClose makes the collector end a hold if nobody closes its owner, an Iterator or a Snapshot. The
// hold must have no way back to the owner, which the collector would otherwise never find.
func expectClose[T Iterator | Snapshot](owner *T, h *hold) runtime.Cleanup {
	return runtime.AddCleanup(owner, (*hold).forgotten, h)
}

// forgotten ends the hold of an Iterator or Snapshot that was not closed, and says so.
func (h *hold) forgotten() {
	if !h.end(ownerEnded) {
		return
	}
	h.store.holds.remove(h)
	if h.made.none() {
		h.store.events.message(slog.LevelWarn, "mmapkv: an Iterator was never closed; it has kept files, and their space on disk, until now")
		return
	}
	h.store.events.message(slog.LevelWarn, "mmapkv: a Snapshot was never closed; it has kept files, and their space on disk, until now",
		"made", h.made.String(), "age", h.age())
}
