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

// CompactRun replaces a run by one file, or only the oldest files of the run if not all of them
// fit into one. The returned rewrite says which files it replaced, and by what: its Output is nil
// if nothing was needed. The caller holds the token. CompactRun is exported for tests.
//
// The order of the steps matters, since each relies on the one before:
//
//  1. Copy what is needed, verified, to a new file, sync it, and install its hint. That syncs the
//     directory, and so the new file's name too.
//  2. Sync the log as far as any record that made another one dead. A power loss must not take
//     the newer record when the older one is gone.
//  3. Commit the manifest. From here on the new file counts, and there is no way back.
//  4. Show the new file to readers, beside the old ones.
//  5. Only then move the index entries to it, each by compare-and-swap. Where a writer was
//     faster, the copy is dead.
//  6. Show readers the set without the old files.
//  7. Unlink and retire the old files. Their memory stays until the last read of it ends.
func (c *Compactor) CompactRun(pacer *pace.Pacer, run []*catalog.File) (rw *rewrite, err error) {
	defer pace.Region("compact").End()
	began := time.Now()
	rw = c.RewriteOf(pacer, run)
	defer c.sweeper.Watch(run)()
	err = rw.prepare()
	c.between("chosen")
	var names []string
	var size int64
	for _, f := range rw.Run {
		names = append(names, segment.FileName(f.ID))
		size += f.Limit()
	}
	c.Events.CompactionStarted(names, size)
	c.space.Promise(rw.Run)
	defer func() {
		c.space.Promise(nil)
		c.compactionEnded(rw, names, began, err)
	}()
	if err != nil {
		return rw, err
	}
	f, err := rw.copy() // step 1
	if err != nil {
		return rw, err
	}
	c.between("copied")
	needed := c.log.Written.Load()
	err = c.UnlessEnded(pacer.Ctx, c.log.Sync) // step 2
	c.between("logged")
	if err == nil {
		err = pacer.Cancelled()
	}
	if err == nil {
		c.checkSynced(needed)
		err = c.CommitRun(rw.Run, f) // step 3
	}
	if err != nil {
		if f != nil {
			c.discard([]*catalog.File{f})
		}
		return rw, err
	}
	pacer.Committed = true
	c.between("edited")
	c.switchTo(rw, f) // steps 4 to 6
	c.discard(rw.Run) // step 7
	c.between("retired")
	return rw, nil
}

// RewriteOf starts the rewrite of a run. It is exported for tests.
func (c *Compactor) RewriteOf(pacer *pace.Pacer, run []*catalog.File) *rewrite {
	return &rewrite{compactor: c, pacer: pacer, Run: run, older: c.olderThan(run[0])}
}

// CommitRun makes the manifest list f, or nothing if f is nil, in the place of the run. It
// removes nothing else from the manifest. It returns ErrNotListed, and changes nothing, if the
// manifest does not list the run. It is exported for tests.
func (c *Compactor) CommitRun(run []*catalog.File, f *catalog.File) error {
	return c.catalog.Edit(true, func(m *segment.Manifest) error {
		at := m.IndexOf(run[0].ID)
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
			with = []segment.SegmentInfo{f.Info(true)}
		}
		m.Segments = slices.Concat(m.Segments[:at], with, m.Segments[at+len(run):])
		return nil
	})
}

// ErrNotListed means that the manifest does not list the run as sealed and adjacent. It is
// exported for tests.
var ErrNotListed = errors.New("mmapkv: the manifest does not list the compacted segments as sealed and adjacent")

// switchTo moves the readers from the run to the new file.
func (c *Compactor) switchTo(rw *rewrite, f *catalog.File) {
	if f != nil {
		c.catalog.CheckListed(f, true)
	}
	for _, old := range rw.Run {
		old.Dropped.Store(true)
	}
	if f != nil {
		c.catalog.Files.Show(f) // step 4
	}
	c.between("shown")
	c.moveAll(rw, f) // step 5
	c.between("moved")
	c.catalog.Files.Replace(rw.Run) // step 6
	if f != nil {
		if t := f.Expiring.Load(); t != nil {
			c.sweeper.ExpiresAt(t.First.Load()) // a sweep has not seen the file before
		}
	}
	c.space.Promise(nil)
}

// moveAll makes the index point to the new file.
func (c *Compactor) moveAll(rw *rewrite, f *catalog.File) {
	for _, together := range rw.moves {
		for moves := range slices.Chunk(together, prefetch.Batch) {
			for _, move := range moves {
				c.catalog.Files.Keys.Prefetch(move.hash)
			}
			for _, move := range moves {
				c.move(move, f)
				c.checkMoved(move)
				_ = rw.pacer.Work(64) // it can no longer be cancelled
			}
		}
	}
}

// move changes one index entry, unless a writer or the sweep already has.
func (c *Compactor) move(move move, f *catalog.File) {
	offset, size := int64(move.offset)*segment.Alignment, int64(move.size)*segment.Alignment
	to := index.MakeLocation(f.Slot, offset, size)
	f.Enliven(offset, size, int(move.keySize))
	if !c.catalog.Files.Keys.CompareAndSwap(index.Fingerprint{Hash: move.hash, Check: move.check}, move.from, to) {
		f.Kill(offset, size, int(move.keySize))
	}
	// The old file is gone in a moment, so its own bits and live bytes no longer matter.
}

// discard removes files that are no longer listed, and their hints. Their space is free once no
// reader uses them.
func (c *Compactor) discard(run []*catalog.File) {
	for _, f := range run {
		c.checkHidden(f)
		c.hints.RemovePartials(f) // a recovered file may have some
		c.catalog.Remove(segment.FileName(f.ID))
		c.catalog.RemoveHint(f.ID)
		c.catalog.Retired.Retire(f)
	}
}

// compactionEnded reports a compaction, and keeps a damaged file out of later ones.
func (c *Compactor) compactionEnded(rw *rewrite, names []string, began time.Time, err error) {
	var damaged *damagedRun
	if errors.As(err, &damaged) {
		damaged.file.Unreadable.Store(true)
		if damaged.damage != nil {
			c.Events.Corruption(*damaged.damage)
		}
	}
	c.Events.CompactionEnded(Ended{Files: names, BytesIn: rw.bytesIn, BytesOut: rw.written, Duration: time.Since(began), Err: err})
}

// olderThan lists the files older than f.
func (c *Compactor) olderThan(f *catalog.File) []*catalog.File {
	c.catalog.Files.Mu.Lock()
	defer c.catalog.Files.Mu.Unlock()
	return slices.Clone(c.catalog.Files.Order[:slices.Index(c.catalog.Files.Order, f)])
}

// between lets a test run code between two steps of a compaction.
func (c *Compactor) between(phase string) {
	if c.Between != nil {
		rank.Unheld(func() { c.Between(phase) })
	}
}
