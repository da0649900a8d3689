package mmapkv

import (
	"errors"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/segment"
)

// A file's life: created and synced with nothing but its header, listed in the
// manifest, then the tail of the log, then ended, then sealed. At most two files
// are unsealed: the tail and either the one before it, until it is sealed, or
// the next, prepared ahead.

// createFile makes a file for the log that is not listed yet.
func (s *Store) createFile(capacity int64) (*file, error) {
	h := segment.Header{ID: s.nextID(), Salt: s.random(), Kind: segment.Log}
	active, err := segment.Create(s.dir, h, capacity)
	if err != nil {
		return nil, err
	}
	active.SetLimit(h.Size())
	f := &file{Segment: active.Segment, active: active, dataStart: h.Size(), capacity: capacity,
		name: nameOf(s.dir, segment.FileName(h.ID))}
	s.lockNew(f)
	return f, nil
}

// syncNewFile makes a new file's bytes and its name durable.
func (s *Store) syncNewFile(f *file) error {
	err := f.active.Sync()
	if err == nil {
		err = s.dir.Sync()
	}
	if err != nil {
		return s.syncFailed(err)
	}
	return nil
}

// dropUnlisted removes a file that was not listed in the end.
func (s *Store) dropUnlisted(f *file) {
	if !s.files.has(f) {
		s.removeFile(f)
	}
}

// removeFile retires a file that is not listed, and unlinks it.
func (s *Store) removeFile(f *file) {
	s.space.retire(f)
	s.remove(segment.FileName(f.ID))
}

// remove unlinks a file that the manifest does not name. Where that fails, the
// next Open does it. After a failure nothing is unlinked: it is not known which
// manifest the disk holds.
func (s *Store) remove(name string) {
	if err := s.unlink(name); err != nil {
		s.events.message(slog.LevelWarn, "mmapkv: a file that is no longer needed could not be removed", "file", name, "error", err)
	}
}

// removeHint is remove for a hint, which need not be there.
func (s *Store) removeHint(id segment.ID) {
	if err := s.unlink(segment.HintName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.events.message(slog.LevelWarn, "mmapkv: a hint that is no longer needed could not be removed", "file", segment.HintName(id), "error", err)
	}
}

func (s *Store) unlink(name string) error {
	if s.syncer.Err() != nil {
		return nil
	}
	return s.dir.Remove(name)
}

// enlist makes a file, durably, the youngest of the log, behind the tail. A
// prepared file gives way and comes later.
func (s *Store) enlist(f *file, mayReserve bool) error {
	s.lockInHurry()
	defer s.unlockInHurry()
	return s.enlistLocked(f, mayReserve)
}

func (s *Store) enlistLocked(f *file, mayReserve bool) error {
	for {
		// The tail may stay unsealed, nothing before it.
		sealed, err := s.sealOldestLocked(1, mayReserve)
		if err != nil {
			return err
		}
		if !sealed {
			break
		}
	}
	displaced := s.prepared
	err := s.edit(mayReserve, func(m *segment.Manifest) error {
		if displaced != nil {
			m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == displaced.ID })
		}
		m.Clean = false
		m.Segments = append(m.Segments, segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind})
		return nil
	})
	if err != nil {
		return err
	}
	if displaced != nil {
		s.files.remove(displaced)
		s.prepared = nil
		s.dropSpareLocked()
		s.spare = displaced
	}
	s.files.add(f)
	return nil
}

// dropSpareLocked removes the file that was prepared and is not listed any more.
func (s *Store) dropSpareLocked() {
	if s.spare != nil {
		s.removeFile(s.spare)
		s.spare = nil
	}
}

// startFile makes a listed file the tail.
func (s *Store) startFile(f *file) {
	t := &s.tail
	if t.file != nil {
		s.endTail()
	}
	t.file, t.previous, t.empty, t.half = f, t.end, true, false
	t.end = segment.End{Offset: f.dataStart, Seq: t.end.Seq}
}

// rotate makes a new file with room for size bytes of records the tail.
func (s *Store) rotate(size int64, mayReserve bool) error {
	defer region("rotate").End()
	s.lockInHurry()
	defer s.unlockInHurry()
	capacity := max(s.options.SegmentSize, segment.HeaderSize+size)
	if s.prepared == nil || s.prepared.capacity < capacity {
		if err := s.prepareLocked(capacity, mayReserve); err != nil {
			return err
		}
	}
	s.startPreparedLocked()
	s.wakeMaintenance()
	return nil
}

// startPreparedLocked makes the prepared file the tail.
func (s *Store) startPreparedLocked() {
	f := s.prepared
	s.prepared = nil
	s.startFile(f)
	s.events.rotated(segment.FileName(f.ID))
}

// prepareLocked creates and lists the file in which the log goes on.
func (s *Store) prepareLocked(capacity int64, mayReserve bool) error {
	f := s.spare
	if f != nil && f.capacity >= capacity {
		s.spare = nil
	} else {
		var err error
		f, err = s.createFile(capacity)
		for tried := 0; mayReserve && isFull(err) && s.reserve.release(tried); tried++ {
			f, err = s.createFile(capacity)
		}
		if err != nil {
			return s.writeFailed(err)
		}
		if err := s.syncNewFile(f); err != nil {
			f.Retire()
			return err
		}
	}
	if err := s.enlistLocked(f, mayReserve); err != nil {
		s.removeFile(f)
		return err
	}
	s.prepared = f
	return nil
}

// sealOldestLocked seals the oldest unsealed file, if it has ended and more than
// `most` files in front of the prepared one are unsealed.
func (s *Store) sealOldestLocked(most int, mayReserve bool) (did bool, err error) {
	unsealed := s.files.unsealed()
	if s.prepared != nil {
		unsealed = slices.DeleteFunc(unsealed, func(f *file) bool { return f == s.prepared })
	}
	if len(unsealed) <= most {
		return false, nil
	}
	f := unsealed[0]
	end, ended := s.files.isEnded(f)
	if !ended {
		return false, nil
	}
	if end.Offset <= f.dataStart {
		return true, s.dropEmptyLocked(f, mayReserve)
	}
	return true, s.sealLocked(f, end, mayReserve)
}

// sealLocked makes an ended file immutable: sync, hint, manifest, in this order.
func (s *Store) sealLocked(f *file, end segment.End, mayReserve bool) error {
	defer region("seal").End()
	if err := s.syncer.SyncTo(end.Seq); err != nil {
		return s.syncFailed(err)
	}
	if err := f.active.Trim(); err != nil {
		return s.writeFailed(err)
	}
	if err := s.writeHint(f, end); err != nil {
		return err
	}
	err := s.edit(mayReserve, func(m *segment.Manifest) error {
		for i := range m.Segments {
			if m.Segments[i].ID == f.ID {
				m.Segments[i].Sealed, m.Segments[i].End = true, end
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.files.sealed(f)
	s.wakeCompact()
	s.wakePopulation()
	return nil
}

// writeHint publishes the hint of a file that ends at end. A hint that does not
// fit on the disk is left out: it costs time at the next Open, nothing else.
func (s *Store) writeHint(f *file, end segment.End) error {
	hint, err := s.buildHint(f, end, s.sealing.pause)
	if err != nil {
		s.events.message(slog.LevelWarn, "mmapkv: a segment could not be read for its hint", "file", segment.FileName(f.ID), "error", err)
		return nil
	}
	return s.publishBuilt(f, hint, end)
}

// publishBuilt gives a file that ends at end the hint that was built of its records.
func (s *Store) publishBuilt(f *file, hint *segment.HintBuilder, end segment.End) error {
	size, err := s.publishHint(f.ID, hint.Encode(f.ID, f.Salt, end, s.syncer.Durable()), s.sealing.pause)
	f.hintBytes.Store(size)
	return err
}

// buildHint makes the hint of a file that ends at end from its records. What cannot
// be read any more may stand in the hint that the file has, from a Close for
// instance: otherwise an older value would come back.
func (s *Store) buildHint(f *file, end segment.End, pause func()) (*segment.HintBuilder, error) {
	hint, err := segment.BuildHint(f.File(), f.Salt, f.dataStart, end.Offset, pause)
	if err != nil || !hint.Damaged() {
		return hint, err
	}
	file, size, err := openBounded(s.dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
	if isScarce(err) {
		return nil, err // what it knows would be gone for good
	}
	if err != nil {
		return hint, nil
	}
	defer file.Close()
	if older, err := segment.OpenHint(file, size, f.ID, f.Salt, pause); err == nil {
		_ = hint.AddLost(older, end.Offset) // all that can be read of it
	}
	return hint, nil
}

// publishHint gives a file its hint and returns what the entries take, 0 when the
// hint was left out.
func (s *Store) publishHint(id segment.ID, content []byte, pause func()) (size int64, err error) {
	if err = fsync.Publish(s.dir, segment.HintName(id), content, pause); err == nil {
		return segment.HintSize(content), nil
	}
	if err := s.writeFailed(err); errors.Is(err, ErrFailed) {
		return 0, err
	}
	s.events.message(slog.LevelWarn, "mmapkv: a hint could not be written", "file", segment.HintName(id), "error", err)
	return 0, nil
}

// dropEmptyLocked takes out an ended file that has no records.
func (s *Store) dropEmptyLocked(f *file, mayReserve bool) error {
	err := s.edit(mayReserve, func(m *segment.Manifest) error {
		m.Segments = slices.DeleteFunc(m.Segments, func(i segment.SegmentInfo) bool { return i.ID == f.ID })
		return nil
	})
	if err != nil {
		return err
	}
	s.files.remove(f) // it was never sealed: compaction must not see it so
	s.removeFile(f)
	return nil
}

// syncLog makes everything written so far durable, oldest file first. It is the
// syncer's sync: one call at a time.
func (s *Store) syncLog() (upTo uint64, err error) {
	defer region("sync").End()
	upTo = s.acknowledged.Load()
	for _, f := range s.files.unsealed() {
		if err := f.sync(); err != nil {
			s.events.failed(err) // nobody may be waiting for it
			return 0, err
		}
	}
	return upTo, nil
}

// sync makes what was written to a file durable. One that is retired was sealed, and
// synced for that.
func (f *file) sync() error {
	if !f.Acquire() {
		return nil
	}
	defer f.Release()
	return f.File().Datasync()
}

// stepSeal seals one ended file.
func (s *Store) stepSeal() (did bool, err error) {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if s.syncer.Err() != nil {
		return false, nil
	}
	return s.sealOldestLocked(0, true) // compaction needs it, and gives back more
}

// stepPrepare creates the next file once the tail is half full.
func (s *Store) stepPrepare() (did bool, err error) {
	unsealed := s.files.unsealed()
	if len(unsealed) != 1 {
		return false, nil
	}
	tail := unsealed[0]
	if _, ended := s.files.isEnded(tail); !ended && tail.Limit() < tail.capacity/2 {
		return false, nil
	}
	return s.prepare()
}

// prepare creates the file in which the log goes on, unless there is one, or two
// unsealed files already.
func (s *Store) prepare() (did bool, err error) {
	s.lockInHurry()
	defer s.unlockInHurry()
	if s.syncer.Err() != nil || s.prepared != nil || len(s.files.unsealed()) != 1 {
		return false, nil
	}
	if err := s.reserve.hold(); err != nil {
		return false, err
	}
	return true, s.prepareLocked(s.options.SegmentSize, false)
}

// wakeMaintenance has the background goroutine look for something to do.
func (s *Store) wakeMaintenance() {
	wake(s.wake)
}

// paceSealing makes sealing step aside, unless somebody waits for it, until the
// function that it returns is called.
func (s *Store) paceSealing() (stop func()) {
	napper := nap.New()
	set := func(n *nap.Napper) {
		s.maintenance.Lock()
		defer s.maintenance.Unlock()
		napper.Close()
		s.sealing = pacer{napper: n, hurry: s.sealInHurry, busy: s.beingWritten}
	}
	set(napper)
	return func() { set(nil) }
}

// restSealing gives back the descriptor that sealing has stepped aside with.
func (s *Store) restSealing() {
	s.maintenance.Lock()
	defer s.maintenance.Unlock()
	if s.sealing.napper != nil {
		s.sealing.napper.Close()
	}
}

func (s *Store) sealInHurry() bool {
	return s.sealWaiters.Load() > 0 || s.space.full.Load() || s.closed.Load()
}

// lockInHurry locks maintenance for a writer, for whom sealing hurries.
func (s *Store) lockInHurry() {
	s.sealWaiters.Add(1)
	s.maintenance.Lock()
}

func (s *Store) unlockInHurry() {
	s.maintenance.Unlock()
	s.sealWaiters.Add(-1)
}

// maintain is the goroutine that seals and prepares files, so that writers find
// that done. Open starts it, Close stops it by closing s.stop.
func (s *Store) maintain() {
	defer s.paceSealing()()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		}
		for _, step := range []func() (bool, error){s.stepSeal, s.stepPrepare} {
			for {
				did, err := step()
				if err != nil {
					s.events.message(slog.LevelWarn, "mmapkv: background work failed; it is tried again", "error", err)
					break
				}
				if !did {
					break
				}
			}
		}
		s.restSealing()
	}
}
