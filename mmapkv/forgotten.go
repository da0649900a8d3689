package mmapkv

import (
	"log/slog"
	"runtime"
)

// An Iterator, a Snapshot or a transaction that its user forgets to end keeps files, and nobody can tell whose they
// are. So the garbage collector ends it, if it ever finds it. That is a safety net: nothing that the
// store promises depends on it.

// expectClose makes the collector end a hold if nobody ends its owner. The hold must have no way back to
// the owner, which the collector would otherwise never find.
func expectClose[T Iterator | Snapshot | Tx](owner *T, h *hold) runtime.Cleanup {
	return runtime.AddCleanup(owner, (*hold).forgotten, h)
}

// forgotten ends a hold whose owner was not ended, and says so.
func (h *hold) forgotten() {
	h.store.txs.conflicts.End(&h.mark)
	if !h.end(ownerEnded) {
		return
	}
	h.store.holds.remove(h)
	if h.made.none() {
		h.store.events.message(slog.LevelWarn, "mmapkv: an Iterator was never closed; it has kept files, and their space on disk, until now")
		return
	}
	what := "mmapkv: a Snapshot was never closed; it has kept files, and their space on disk, until now"
	if h.firstExpiry != nil {
		what = "mmapkv: a transaction was never ended; it has kept files, and their space on disk, until now"
	}
	h.store.events.message(slog.LevelWarn, what,
		"made", h.made.String(), "age", h.age())
}
