package mmapkv

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// A Snapshot that stays open keeps what compaction has replaced, and somebody has to find out whose it
// is. Once a second, and after each Compact, the store looks at its snapshots. It reports those that
// are old, and ends the oldest ones if they keep more than the limit. No writer waits for that.

// SnapshotStats is an open Snapshot.
type SnapshotStats struct {
	// Made is the file and line of the code, outside of this package, that made it.
	Made string
	// Age is how long ago that was, by the store's clock.
	Age time.Duration
	// Seq is the sequence number of the last commit in it.
	Seq uint64
	// HeldBytes is the size of the segments that it keeps although compaction has replaced them.
	// Other snapshots may keep them too.
	HeldBytes int64
}

// defaultSnapshotAge is the age from which a Snapshot is old, unless Events.SnapshotAge says so.
const defaultSnapshotAge = 10 * time.Minute

// snapshots returns the open snapshots, oldest first.
func (a *holds) snapshots() (open []*hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for h := a.oldest; h != nil; h = h.newer {
		if !h.made.none() {
			open = append(open, h)
		}
	}
	return open
}

// snapshotStats returns Stats.Snapshots.
func snapshotStats(s *Store) (all []SnapshotStats) {
	for _, h := range s.holds.snapshots() {
		all = append(all, h.stats())
	}
	return all
}

// stats returns what there is to say about a Snapshot.
func (h *hold) stats() SnapshotStats {
	kept := replaced{}
	return SnapshotStats{Made: h.made.String(), Age: h.age(), Seq: h.state.Seq(), HeldBytes: kept.add(h.state.Set())}
}

// replaced is files that compaction has replaced.
type replaced map[*catalog.File]struct{}

// add adds the replaced files of a set, and returns the size of those that were not there.
func (r replaced) add(set *catalog.FileSet) (bytes int64) {
	for _, f := range set.Order {
		if _, has := r[f]; !has && f.Dropped.Load() {
			r[f] = struct{}{}
			bytes += f.Limit()
		}
	}
	return bytes
}

// lookAtSnapshots ends the snapshots that are beyond the limit, and reports the old ones.
func lookAtSnapshots(s *Store) {
	if limit := s.options.SnapshotLimit; limit > 0 {
		for _, h := range beyondLimit(s.holds.snapshots(), limit) {
			endBeyondLimit(s, h)
		}
	}
	for _, h := range s.holds.old(s.now().Add(-s.events.snapshotAge()).UnixMilli()) {
		s.events.snapshotOld(SnapshotOld{SnapshotStats: h.stats()})
	}
}

// beyondLimit returns the oldest of the snapshots, so many that the others together keep no more than
// the limit.
func beyondLimit(open []*hold, limit int64) []*hold {
	kept, bytes := replaced{}, int64(0)
	var last *catalog.FileSet
	for i, h := range slices.Backward(open) {
		if set := h.state.Set(); set != last {
			last = set
			bytes += kept.add(set)
		}
		if bytes > limit {
			return open[:i+1]
		}
	}
	return nil
}

// endBeyondLimit ends a Snapshot because of the limit. It waits for no read of it.
func endBeyondLimit(s *Store, h *hold) {
	e := SnapshotOld{SnapshotStats: h.stats(), Ended: true}
	if !h.end(limitEnded) {
		return
	}
	s.holds.remove(h)
	s.events.snapshotOld(e)
}

// snapshotOld reports a Snapshot that is old, or that was ended.
func (n *notifier) snapshotOld(e SnapshotOld) {
	message := "mmapkv: a Snapshot has been open for long"
	if e.Ended {
		message = "mmapkv: a Snapshot was ended, since snapshots keep more than Options.SnapshotLimit"
	}
	tell(n, n.events.SnapshotOld, e, slog.LevelWarn, message, "made", e.Made, "age", e.Age, "heldBytes", e.HeldBytes)
}

// old returns the snapshots that were made at a time, in Unix milliseconds, or before. It returns each
// only once.
func (a *holds) old(upTo int64) (old []*hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for h := a.oldest; h != nil && h.now <= upTo; h = h.newer {
		if !h.told && !h.made.none() {
			h.told = true
			old = append(old, h)
		}
	}
	return old
}

// snapshotAge is the age from which a Snapshot is old.
func (n *notifier) snapshotAge() time.Duration {
	return cmp.Or(n.events.SnapshotAge, defaultSnapshotAge)
}
