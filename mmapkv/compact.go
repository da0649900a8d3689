package mmapkv

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// Compact rewrites everything that holds garbage worth reclaiming, beginning with
// the segment being written if it holds any, and returns when that is done. It
// stops at the next convenience, with nothing lost, when the context ends, and
// returns the context's error, though what cannot be given up in its middle, the sealing
// of a segment and a sync, may take a moment longer; ErrClosed when the store is closed meanwhile,
// ErrReadOnly when it is open for reading only. One compaction runs at a time:
// Compact waits for one that runs.
//
// An error that wraps ErrCorrupt says that a segment could not be rewritten since
// it is damaged; the others are all the same.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	ctx, done := pace.OwnContext(ctx)
	defer done()
	if err := s.unlessEnded(ctx, func() error { return s.sealGarbage(ctx) }); err != nil {
		return err
	}
	select {
	case s.compacting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return ErrClosed
	}
	rank.Acquire[rank.Compacting]()
	defer s.endCompacting()
	if err := s.writable(); err != nil {
		return err
	}
	pacer, ended := s.newPacer(ctx)
	defer ended()
	damage := s.tryAgain()
	after := segment.ID(0) // the file behind which the search goes on
	last := s.lastSealed()
	for {
		if err := pacer.Cancelled(); err != nil {
			return err
		}
		run := s.nextRun(after, last)
		if run == nil {
			return damage
		}
		m, err := s.compactRun(pacer, run)
		s.space.Look(true)
		var damaged *damagedRun
		switch {
		case errors.As(err, &damaged):
			damage = errors.Join(damage, damaged.err)
			continue
		case err != nil:
			return err
		}
		if m.run[len(m.run)-1].ID == last {
			if m.made == nil {
				return damage
			}
			last = m.made.ID
		}
		if m.made != nil {
			after = m.made.ID
		}
	}
}

// endCompacting gives back the token.
func (s *Store) endCompacting() {
	<-s.compacting
	rank.Release[rank.Compacting]()
}

// tryAgain makes segments that a compaction could not read once candidates again,
// and returns an error for those with garbage that are known to be damaged.
func (s *Store) tryAgain() (err error) {
	for _, c := range s.candidates() {
		c.Unreadable.Store(false)
		if c.Damaged.Load() && c.garbage > c.size/space.Negligible {
			err = errors.Join(err, c.Corrupt(c.DataStart, "the segment is damaged somewhere, and is left as it is"))
		}
	}
	return err
}

// sealGarbage ends the tail if it holds garbage, and seals what has ended. What has
// expired is garbage.
func (s *Store) sealGarbage(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := s.sweeper.SweepAll(ctx); err != nil {
		return err
	}
	return s.log.SealTail(ctx, s.log.TailHasGarbage)
}

// unlessEnded does something that waits for the disk or for others, and returns when
// that is done, or when the context ends. What cannot be given up half done goes on then,
// up to where it looks at the context, and Close waits for it as for a write.
func (s *Store) unlessEnded(ctx context.Context, do func() error) error {
	if ctx.Done() == nil || s.manual() {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		err := s.enter()
		if err == nil {
			defer s.leave()
			err = do()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compactInHurry says that writers or Close wait for a compaction.
func (s *Store) compactInHurry() bool { return s.space.IsFull() || s.closed.Load() }

// beingWritten says that writes are in flight.
func (s *Store) beingWritten() bool { return s.writing.Load() > 0 }

// newPacer makes what a compaction keeps pace with.
func (s *Store) newPacer(ctx context.Context) (p *pace.Pacer, done func()) {
	p = &pace.Pacer{Ctx: ctx, Stop: s.stop, Budget: s.options.Compaction.BytesPerSecond, Lift: s.liftBudget,
		Hurry: s.compactInHurry, Busy: s.beingWritten, Began: time.Now()}
	if s.manual() {
		return p, func() {}
	}
	p.Napper = nap.New()
	return p, p.Napper.Close
}

// stepCompact compacts one run, if one is worth it.
func (s *Store) stepCompact() (did bool, err error) {
	return s.compactBest(context.Background())
}

func (s *Store) compactBest(ctx context.Context) (did bool, err error) {
	if s.syncer.Err() != nil || s.options.Compaction.Disabled {
		return false, nil
	}
	rank.Acquire[rank.Compacting]()
	s.compacting <- struct{}{}
	defer s.endCompacting()
	run := s.bestRun()
	if run == nil {
		return false, nil
	}
	pacer, done := s.newPacer(ctx)
	defer done()
	_, err = s.compactRun(pacer, run)
	return true, err
}

// compactRun puts one file in the place of a run, or of the oldest files of the
// run if all do not fit into one: those of the merge that is returned. Its made is
// the file, nil when nothing of them was needed.
//
// It goes in this order, for each step relies on the one before:
//
//  1. Copy what is needed, verified, to a new file; sync it and its name (merge).
//  2. Sync the log as far as anything that made a record dead: a power loss must
//     not take the newer one when the older one is gone.
//  3. Commit the manifest. From here on the new file counts, and there is no way
//     back.
//  4. Publish the new file beside the old ones, and only then
//  5. move the index's entries to it, each by compare-and-swap: where a writer was
//     faster, the copy is dead.
//  6. Publish the set without the old files.
//  7. Unlink and retire them. What readers use of them goes with the last read.
func (s *Store) compactRun(pacer *pace.Pacer, run []*catalog.File) (m *merge, err error) {
	defer pace.Region("compact").End()
	began := time.Now()
	m = &merge{store: s, pacer: pacer, run: run, older: s.olderThan(run[0])}
	defer s.sweeper.Watch(run)()
	err = m.prepare()
	s.between("chosen")
	var names []string
	var size int64
	for _, f := range m.run {
		names = append(names, segment.FileName(f.ID))
		size += f.Limit()
	}
	s.events.compactionStarted(names, size)
	s.space.Promise(m.run)
	defer func() {
		s.space.Promise(nil)
		s.compactionEnded(m, names, began, err)
	}()
	if err != nil {
		return m, err
	}
	f, err := m.copy()
	if err != nil {
		return m, err
	}
	s.between("copied")
	err = s.unlessEnded(pacer.Ctx, s.log.Sync)
	s.between("logged")
	if err == nil {
		err = pacer.Cancelled()
	}
	if err == nil {
		err = s.commitRun(m.run, f)
	}
	if err != nil {
		if f != nil {
			s.discard([]*catalog.File{f})
		}
		return m, err
	}
	pacer.Patient = true
	s.between("edited")
	s.switchTo(m, f)
	s.discard(m.run)
	s.between("retired")
	return m, nil
}

// commitRun makes the manifest say that f, or nothing, has the place of the run.
// It takes nothing out of the manifest but the run.
func (s *Store) commitRun(run []*catalog.File, f *catalog.File) error {
	return s.catalog.Edit(true, func(m *segment.Manifest) error {
		at := slices.IndexFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == run[0].ID })
		if at < 0 || len(m.Segments)-at < len(run) {
			return errNotListed
		}
		for i, old := range run {
			if info := m.Segments[at+i]; info.ID != old.ID || !info.Sealed {
				return errNotListed
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

var errNotListed = errors.New("mmapkv: the manifest does not list the compacted segments as sealed, one behind the other")

// switchTo moves the readers from the run to the new file.
func (s *Store) switchTo(m *merge, f *catalog.File) {
	for _, old := range m.run {
		old.Dropped.Store(true)
	}
	if f != nil {
		s.catalog.Files.Show(f)
	}
	s.between("shown")
	s.moveAll(m, f)
	s.between("moved")
	s.catalog.Files.Replace(m.run)
	if f != nil {
		if t := f.Expiring.Load(); t != nil {
			s.sweeper.ExpiresAt(t.First.Load()) // a sweep has not seen the file before
		}
	}
	s.space.Promise(nil)
}

// moveAll makes the index point to the new file.
func (s *Store) moveAll(m *merge, f *catalog.File) {
	for _, together := range m.moves {
		for moves := range slices.Chunk(together, manyAtOnce) {
			for _, move := range moves {
				s.catalog.Files.Keys.Prefetch(move.hash)
			}
			for _, move := range moves {
				s.move(move, f)
				_ = m.pacer.Work(64) // it cannot be cancelled any more
			}
		}
	}
}

// move changes one entry of the index, unless a writer has done so, or the sweep.
func (s *Store) move(move move, f *catalog.File) {
	size := int64(move.size) * segment.Alignment
	to := index.MakeLocation(f.Slot, int64(move.offset)*segment.Alignment, size)
	if !s.catalog.Files.Keys.CompareAndSwap(index.Fingerprint{Hash: move.hash, Check: move.check}, move.from, to) {
		return
	}
	// The old file is gone in a moment, and with it its account.
	f.AddLive(size, int(move.keySize), 1)
}

// discard removes files that are no longer listed, with their hints. Their room
// comes back when no reader uses them any more.
func (s *Store) discard(run []*catalog.File) {
	for _, f := range run {
		s.catalog.Remove(segment.FileName(f.ID))
		s.catalog.RemoveHint(f.ID)
		s.catalog.Retired.Retire(f)
	}
}

// compactionEnded tells of a compaction, and keeps a damaged file out of further
// ones.
func (s *Store) compactionEnded(m *merge, names []string, began time.Time, err error) {
	var damaged *damagedRun
	if errors.As(err, &damaged) {
		damaged.file.Unreadable.Store(true)
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			s.events.corruption(corrupt)
		}
	}
	ended := CompactionEnded{Files: names, BytesIn: m.in, BytesOut: m.written, Duration: time.Since(began), Err: err}
	s.compactions.add(ended)
	s.events.compactionEnded(ended)
}

// olderThan lists the files in front of one.
func (s *Store) olderThan(f *catalog.File) []*catalog.File {
	s.catalog.Files.Mu.Lock()
	defer s.catalog.Files.Mu.Unlock()
	return slices.Clone(s.catalog.Files.Order[:slices.Index(s.catalog.Files.Order, f)])
}

// between lets a test in between two steps of a compaction.
func (s *Store) between(phase string) {
	if seams := s.options.seams; seams != nil && seams.Between != nil {
		rank.Unheld(func() { seams.Between(phase) })
	}
}

// manual says that a test takes the background's steps.
func (s *Store) manual() bool { return s.options.seams != nil && s.options.seams.Manual }

// compact is the goroutine that gives back room. Open starts it, Close stops it by
// closing s.stop.
func (s *Store) compact() {
	for {
		for s.compactOnce() {
		}
		select {
		case <-s.stop:
			return
		case <-s.wakeCompaction:
		}
	}
}

// compactOnce compacts the best run, if one is worth it. It says whether to go on.
func (s *Store) compactOnce() (progress bool) {
	waiting := s.space.IsFull()
	if waiting {
		s.sealWaiting()
	}
	did, err := s.compactBest(context.Background())
	var damaged *damagedRun
	switch {
	case errors.Is(err, ErrClosed):
		return false
	case err != nil && !errors.As(err, &damaged):
		did = false // it is tried again
	}
	// Who has begun to wait meanwhile has woken the compactor once more: there may be
	// something to do now.
	s.space.Look(did || !waiting)
	return did
}

// sealWaiting seals what has ended, lest the writers that wait are let go since
// nobody knows yet that it is garbage.
func (s *Store) sealWaiting() {
	for {
		if did, err := s.log.StepSeal(); err != nil || !did {
			return // on an error maintain tries again
		}
	}
}

// wakeCompact makes the compactor look for something to do.
func (s *Store) wakeCompact() { pace.Wake(s.wakeCompaction) }
