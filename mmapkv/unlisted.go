package mmapkv

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/mmapkv/mmapkv/segment"
)

// Files that the manifest does not name: not yet, when they are made, and no longer,
// when they are removed.

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
		return s.latch.SyncError(err)
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

// mostUnlisted is how many file numbers a session may use at most from one edit of
// the manifest to the next. A file with a number beyond that is not of this store,
// and must not use up the numbers.
const mostUnlisted = 1 << 20

// firstFreeID is a file number that the manifest has not given and above those that
// the directory shows: one that was made and never listed is not reused either.
func firstFreeID(next segment.ID, names []string) segment.ID {
	free := next
	for _, name := range names {
		if id, _, ours := segment.ParseFileName(name); ours && id < next+mostUnlisted {
			free = max(free, id+1)
		}
	}
	return free
}

// removeOrphans unlinks files of ours that the manifest does not name: what a
// crash left between making a file and listing it, or between delisting and
// unlinking it. None is newer than the manifest: see refuseNewer.
//
// The manifest may have got its name, or its last edit, a moment before
// its process was killed, and that be in memory only; the one before it, which a power
// loss would bring back, may name these files. So a manifest of our own comes first.
func (s *Store) removeOrphans() error {
	names, err := s.dir.Names()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, f := range s.files.order {
		listed[segment.FileName(f.ID)] = true
		listed[segment.HintName(f.ID)] = true
	}
	var orphans []string
	for _, name := range names {
		_, kind, ours := segment.ParseFileName(name)
		if !ours || listed[name] {
			continue
		}
		if kind == segment.SegmentFile || kind == segment.HintFile || kind == segment.TemporaryFile {
			orphans = append(orphans, name)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	if err := s.manifest.settle(s.edit); err != nil {
		return err
	}
	for _, name := range orphans {
		s.remove(name)
	}
	return nil
}
