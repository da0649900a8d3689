package compact

import (
	"errors"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// CompactRun puts one file in the place of a run, or of the oldest files of the
// run if all do not fit into one: those of the rewrite that is returned. Its made is
// the file, nil when nothing of them was needed.
//
// It goes in this order, for each step relies on the one before:
//
//  1. Copy what is needed, verified, to a new file; sync it and its name (rewrite).
//  2. Sync the log as far as anything that made a record dead: a power loss must
//     not take the newer one when the older one is gone.
//  3. Commit the manifest. From here on the new file counts, and there is no way
//     back.
//  4. Publish the new file beside the old ones, and only then
//  5. move the index's entries to it, each by compare-and-swap: where a writer was
//     faster, the copy is dead.
//  6. Publish the set without the old files.
//  7. Unlink and retire them. What readers use of them goes with the last read.
func (c *Compactor) CompactRun(pacer *pace.Pacer, run []*catalog.File) (m *rewrite, err error) {
	defer pace.Region("compact").End()
	began := time.Now()
	m = c.RewriteOf(pacer, run)
	defer c.sweeper.Watch(run)()
	err = m.prepare()
	c.between("chosen")
	var names []string
	var size int64
	for _, f := range m.Run {
		names = append(names, segment.FileName(f.ID))
		size += f.Limit()
	}
	c.Events.CompactionStarted(names, size)
	c.space.Promise(m.Run)
	defer func() {
		c.space.Promise(nil)
		c.compactionEnded(m, names, began, err)
	}()
	if err != nil {
		return m, err
	}
	f, err := m.copy()
	if err != nil {
		return m, err
	}
	c.between("copied")
	err = c.UnlessEnded(pacer.Ctx, c.log.Sync)
	c.between("logged")
	if err == nil {
		err = pacer.Cancelled()
	}
	if err == nil {
		err = c.CommitRun(m.Run, f)
	}
	if err != nil {
		if f != nil {
			c.discard([]*catalog.File{f})
		}
		return m, err
	}
	pacer.Patient = true
	c.between("edited")
	c.switchTo(m, f)
	c.discard(m.Run)
	c.between("retired")
	return m, nil
}

// RewriteOf begins the rewrite of a run.
func (c *Compactor) RewriteOf(pacer *pace.Pacer, run []*catalog.File) *rewrite {
	return &rewrite{compactor: c, pacer: pacer, Run: run, older: c.olderThan(run[0])}
}

// CommitRun makes the manifest say that f, or nothing, has the place of the run.
// It takes nothing out of the manifest but the run.
func (c *Compactor) CommitRun(run []*catalog.File, f *catalog.File) error {
	return c.catalog.Edit(true, func(m *segment.Manifest) error {
		at := slices.IndexFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == run[0].ID })
		if at < 0 || len(m.Segments)-at < len(run) {
			return ErrNotListed
		}
		for i, old := range run {
			if info := m.Segments[at+i]; info.ID != old.ID || !info.Sealed {
				return ErrNotListed
			}
		}
		var with []segment.SegmentInfo
		if f != nil {
			with = []segment.SegmentInfo{{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: true, End: f.End}}
		}
		m.Segments = slices.Concat(m.Segments[:at], with, m.Segments[at+len(run):])
		return nil
	})
}

var ErrNotListed = errors.New("mmapkv: the manifest does not list the compacted segments as sealed, one behind the other")

// switchTo moves the readers from the run to the new file.
func (c *Compactor) switchTo(m *rewrite, f *catalog.File) {
	for _, old := range m.Run {
		old.Dropped.Store(true)
	}
	if f != nil {
		c.catalog.Files.Show(f)
	}
	c.between("shown")
	c.moveAll(m, f)
	c.between("moved")
	c.catalog.Files.Replace(m.Run)
	if f != nil {
		if t := f.Expiring.Load(); t != nil {
			c.sweeper.ExpiresAt(t.First.Load()) // a sweep has not seen the file before
		}
	}
	c.space.Promise(nil)
}

// moveAll makes the index point to the new file.
func (c *Compactor) moveAll(m *rewrite, f *catalog.File) {
	for _, together := range m.moves {
		for moves := range slices.Chunk(together, prefetch.Batch) {
			for _, move := range moves {
				c.catalog.Files.Keys.Prefetch(move.hash)
			}
			for _, move := range moves {
				c.move(move, f)
				_ = m.pacer.Work(64) // it cannot be cancelled any more
			}
		}
	}
}

// move changes one entry of the index, unless a writer has done so, or the sweep.
func (c *Compactor) move(move move, f *catalog.File) {
	size := int64(move.size) * segment.Alignment
	to := index.MakeLocation(f.Slot, int64(move.offset)*segment.Alignment, size)
	if !c.catalog.Files.Keys.CompareAndSwap(index.Fingerprint{Hash: move.hash, Check: move.check}, move.from, to) {
		return
	}
	// The old file is gone in a moment, and with it its account.
	f.AddLive(size, int(move.keySize), 1)
}

// discard removes files that are no longer listed, with their hints. Their room
// comes back when no reader uses them any more.
func (c *Compactor) discard(run []*catalog.File) {
	for _, f := range run {
		c.catalog.Remove(segment.FileName(f.ID))
		c.catalog.RemoveHint(f.ID)
		c.catalog.Retired.Retire(f)
	}
}

// compactionEnded tells of a compaction, and keeps a damaged file out of further
// ones.
func (c *Compactor) compactionEnded(m *rewrite, names []string, began time.Time, err error) {
	var damaged *damagedRun
	if errors.As(err, &damaged) {
		damaged.file.Unreadable.Store(true)
		if damaged.damage != nil {
			c.Events.Corruption(*damaged.damage)
		}
	}
	c.Events.CompactionEnded(Ended{Files: names, BytesIn: m.in, BytesOut: m.written, Duration: time.Since(began), Err: err})
}

// olderThan lists the files in front of one.
func (c *Compactor) olderThan(f *catalog.File) []*catalog.File {
	c.catalog.Files.Mu.Lock()
	defer c.catalog.Files.Mu.Unlock()
	return slices.Clone(c.catalog.Files.Order[:slices.Index(c.catalog.Files.Order, f)])
}

// between lets a test in between two steps of a compaction.
func (c *Compactor) between(phase string) {
	if c.Between != nil {
		rank.Unheld(func() { c.Between(phase) })
	}
}
