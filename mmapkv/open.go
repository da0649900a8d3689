package mmapkv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// recover brings the store to where the files say it was: the manifest decides
// which files count, recovery decides how far the unsealed ones go, and the hints
// fill the index. A ReadOnly store changes nothing on disk.
func (s *Store) recover() error {
	began := s.now()
	names, err := s.dir.Names()
	if err != nil {
		return err
	}
	m, err := s.readManifest(names)
	if err != nil {
		return err
	}
	if err := listing.RefuseNewer(s.dir.OpenReadOnly, names, m); err != nil {
		return err
	}
	m.NextID = firstFreeID(m.NextID, names)
	s.manifest.mu.Lock()
	s.manifest.current = *m
	s.noteManifestLocked()
	s.manifest.mu.Unlock()
	s.syncer.MarkDurable(m.Watermark)
	s.lastGiven.Store(m.LastSeq)
	s.recovery.Clean = m.Clean

	if slices.Contains(names, segment.ReserveName) {
		s.reserve.Found()
	}
	if err := s.openFiles(m); err != nil {
		return err
	}
	s.files.publish()
	loading := s.startLoading(!m.Clean)
	if !m.Clean {
		if err := s.recoverLog(); err != nil {
			return loading.abandon(err)
		}
		s.files.publish()
	}
	if err := loading.finish(); err != nil {
		return err
	}
	s.continueLog()
	if err := s.warmUp(); err != nil {
		return err
	}
	if !s.options.ReadOnly {
		if err := s.removeOrphans(); err != nil {
			return err
		}
		if err := s.reserve.Hold(); err != nil && !errno.OutOfSpace(err) {
			return err
		}
	}
	s.recovery.Duration = s.now().Sub(began)
	s.reportRecovery()
	return nil
}

// readManifest reads the manifest, or makes that of a new store.
func (s *Store) readManifest(names []string) (*segment.Manifest, error) {
	m, err := s.parseManifestFile()
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if reason := listing.WhyNoManifest(names); reason != "" {
		return nil, failure.Refused(failure.Damage{File: segment.ManifestName, Reason: reason})
	}
	if s.options.ReadOnly {
		return nil, fmt.Errorf("mmapkv: there is no store: %w", err)
	}
	// The directory's own name comes before the manifest, and the manifest before
	// the first segment, so that a directory without one has never held data.
	if err := vfs.SyncParents(s.options.fileSystem(), s.path); err != nil {
		return nil, err
	}
	s.manifest.current = segment.Manifest{NextID: 1}
	if err := s.edit(false, func(m *segment.Manifest) error { m.Clean = true; return nil }); err != nil {
		return nil, err
	}
	*m = s.manifest.current
	return m, nil
}

// parseManifestFile reads the manifest; fs.ErrNotExist when there is none. What the disk
// refuses to read of it may be in its other half.
func (s *Store) parseManifestFile() (m *segment.Manifest, err error) {
	f, _, err := patient.OpenBounded(s.dir, segment.ManifestName, segment.MaxManifestSize)
	if errors.Is(err, fs.ErrNotExist) {
		return new(segment.Manifest), err
	}
	if err != nil {
		return nil, failure.Unusable(segment.ManifestName, err)
	}
	defer f.Close()
	r := patient.Reader{File: f, Before: func(int64) error { return nil }}
	content, err := r.Content(segment.MaxManifestSize)
	if err != nil {
		return nil, failure.Unusable(segment.ManifestName, err)
	}
	m, err = segment.ParseManifest(content)
	switch {
	case errors.Is(err, segment.ErrVersion):
		return nil, fmt.Errorf("%w: %s: %w", ErrVersion, segment.ManifestName, err)
	case err != nil:
		return nil, failure.Refused(failure.Damage{File: segment.ManifestName, Offset: r.RefusedFrom, Reason: r.Why(r.RefusedFrom, 1, err.Error())})
	case r.Refused != nil:
		s.noteDamage(segment.ManifestName, r.RefusedFrom, r.Refused.Error())
	}
	return m, nil
}

// openFiles opens every file that the manifest names.
func (s *Store) openFiles(m *segment.Manifest) error {
	for i, info := range m.Segments {
		known := info.Sealed || m.Clean && i == len(m.Segments)-1
		f, err := s.openFile(info, known)
		if err != nil {
			return err
		}
		s.files.addLocked(f)
	}
	return nil
}

// openFile opens a listed file. Where it ends is known of a sealed one and of
// the last one after a clean close.
func (s *Store) openFile(info segment.SegmentInfo, known bool) (*file, error) {
	name := segment.FileName(info.ID)
	open := s.dir.Open
	if info.Sealed || s.options.ReadOnly {
		open = s.dir.OpenReadOnly
	}
	handle, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Refused(failure.Damage{File: name, Reason: "the manifest names it, and it is missing"})
	}
	if err != nil {
		return nil, err
	}
	size, header, err := listing.Inspect(handle, info)
	if err != nil {
		err = errors.Join(err, handle.Close())
		if errors.Is(err, segment.ErrVersion) {
			return nil, fmt.Errorf("%w: %s: %w", ErrVersion, name, err)
		}
		return nil, failure.Unusable(name, err)
	}
	f := &file{dataStart: header.Size(), capacity: s.options.SegmentSize}
	mapped := size
	if known {
		mapped = info.End.Offset
		if size < info.End.Offset {
			s.noteDamage(name, size, fmt.Sprintf("the file ends here and not at %d", info.End.Offset))
		}
	}
	if !info.Sealed {
		mapped = max(mapped, s.options.SegmentSize)
	}
	if f.Segment, err = segment.OpenSegment(handle, header, mapped); err != nil {
		return nil, err
	}
	if known {
		f.end, f.ended = info.End, true
	}
	f.SetLimit(f.end.Offset)
	if !info.Sealed {
		f.name = nameOf(s.dir, name)
		f.active = segment.Reopen(f.Segment, max(f.end.Offset, f.dataStart))
		// Nothing is appended to a file that is not exactly what was left.
		f.ended = !known || size != info.End.Offset || info.End.Seq != s.lastGiven.Load()
	}
	return f, nil
}

// continueLog makes the tail go on where the files end.
func (s *Store) continueLog() {
	t := &s.tail
	t.seq = s.lastGiven.Load()
	t.clean = s.manifest.current.Clean
	order := s.files.order
	if n := len(order); n > 0 {
		last := order[n-1]
		t.end = last.end
		if last.active != nil && !last.ended && !s.options.ReadOnly {
			t.file = last
			t.empty = t.end.Offset == last.dataStart
			if n > 1 {
				t.previous = order[n-2].end
			}
		}
	}
	// The file where the log ended may be gone, since nothing of it was needed.
	t.end.Seq = max(t.end.Seq, s.manifest.current.SealedSeq)
	s.acknowledged.Store(t.end.Seq)
	s.published.Store(t.end.Seq)
	s.syncer.MarkDurable(t.end.Seq)
}

func (s *Store) noteDamage(name string, offset int64, reason string) {
	s.recovery.Damages = append(s.recovery.Damages, CorruptError{File: name, Offset: offset, Reason: reason})
}

func (s *Store) reportRecovery() {
	r := s.recovery
	s.events.message(slog.LevelInfo, "mmapkv: opened", "keys", s.files.keys.Len(), "segments", len(s.files.order), "clean", r.Clean,
		"recovered", r.RecordsRecovered, "hintsRebuilt", r.HintsRebuilt, "took", r.Duration)
	s.events.recovered(r)
	for i := range r.Damages {
		s.events.corruption(&r.Damages[i])
	}
}
