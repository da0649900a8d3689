package mmapkv

import (
	"errors"
	"io/fs"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// manifestLog is the current manifest. It changes only by an edit that is
// applied to the current list under the mutex, so that no two parts of the store
// can each publish their own idea of it.
type manifestLog struct {
	mu      rank.Mutex[rank.Manifest] // guards the rest
	current segment.Manifest
	free    []segment.SegmentInfo // memory for the next list
	edits   segment.EditLog       // where the next edit goes; no room behind a manifest that Open found
	edit    []byte                // memory for it

	identity   vfs.Identity // of the file, as far as it is identified: see watch.go
	identified bool
}

// edit publishes a changed manifest. On a nil return it is durable. mayReserve
// lets it use the reserve on a full disk. An error of the change is returned, and
// nothing is published.
func (s *Store) edit(mayReserve bool, change func(m *segment.Manifest) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	m := &s.manifest
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identified {
		if err := s.checkNamesLocked(); err != nil {
			return s.syncFailed(err) // nothing is put where somebody else has put something
		}
	}
	next := m.current
	next.Segments = append(m.free[:0], m.current.Segments...)
	next.Edit++
	next.Watermark = max(next.Watermark, s.syncer.Durable())
	next.LastSeq = max(next.LastSeq, s.lastGiven.Load())
	if err := change(&next); err != nil {
		return err
	}
	for _, info := range next.Segments {
		if info.Sealed {
			next.SealedSeq = max(next.SealedSeq, info.End.Seq)
		}
	}
	if next.NextID > segment.MaxNextID {
		return errUsedUp
	}
	if err := s.commitEditLocked(&next, mayReserve); err != nil {
		if errors.Is(err, fs.ErrNotExist) && m.identified {
			err = errors.Join(s.checkNamesLocked(), err) // it says more
		}
		return s.writeFailed(err)
	}
	m.free = m.current.Segments
	m.current = next
	return nil
}

// commitEditLocked makes the next manifest durable: as an edit behind the one that is
// there, or else as a new file.
func (s *Store) commitEditLocked(next *segment.Manifest, mayReserve bool) error {
	done, left, err := s.appendEditLocked(next)
	if done || err != nil {
		return err
	}
	err = s.publishManifestLocked(next, mayReserve)
	if err == nil || publishFailed(err) || left == 0 {
		return err
	}
	// Nobody may find later what was left of an edit that was not made.
	if eraseErr := s.eraseEditLocked(left); eraseErr != nil {
		return &fsync.PublishError{Name: segment.ManifestName, Step: "taking back an edit", Tried: true, Err: errors.Join(err, eraseErr)}
	}
	return err
}

// appendEditLocked writes the edit that makes the next manifest into the room for it,
// twice, and syncs that. Where this does not work it has done nothing, or left
// something of so many bytes at one of the places, or returns the error, after
// which nobody knows what is on disk.
func (s *Store) appendEditLocked(next *segment.Manifest) (done bool, left int, err error) {
	m := &s.manifest
	m.edit = m.edits.Encode(m.edit[:0], &m.current, next)
	if len(m.edit) == 0 {
		return false, 0, nil
	}
	f, err := s.dir.Open(segment.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, err // somebody has removed it
	}
	if err != nil {
		return false, 0, nil // a new file tells what is wrong, if that does not work either
	}
	defer f.Close() // what counts is synced before
	for _, place := range m.edits.Places() {
		n, err := vfs.WriteFull(f, m.edit, place)
		if n > 0 {
			left = len(m.edit)
		}
		switch {
		case err == nil:
		case isFinal(err):
			return false, left, err
		default:
			return false, left, nil
		}
	}
	if err := f.Datasync(); err != nil {
		return false, left, &fsync.PublishError{Name: segment.ManifestName, Step: "syncing an edit", SyncFailed: true, Err: err}
	}
	m.edits.Wrote(len(m.edit))
	return true, 0, nil
}

// eraseEditLocked overwrites what was left of an edit.
func (s *Store) eraseEditLocked(size int) error {
	f, err := s.dir.Open(segment.ManifestName)
	if err != nil {
		return err
	}
	defer f.Close() // what counts is synced before
	for _, place := range s.manifest.edits.Places() {
		if _, err := vfs.WriteFull(f, make([]byte, size), place); err != nil {
			return err
		}
	}
	return f.Datasync()
}

// publishManifestLocked writes a full copy. On a full disk the room of the old
// manifest is for the reserve, when the new one is in its place.
func (s *Store) publishManifestLocked(next *segment.Manifest, mayReserve bool) error {
	next.Salt = s.random()
	content := next.Append(nil)
	size := int64(len(content))
	publish := func() error { return fsync.Publish(s.dir, segment.ManifestName, content, nil) }
	err := publish()
	for _, give := range []func() bool{
		func() bool { return s.reserve.giveFile(0) },
		func() bool { return s.reserve.give(size, 0) },
		s.reserve.giveAll,
	} {
		for mayReserve && isFull(err) && !publishFailed(err) && give() {
			err = publish()
		}
	}
	s.reserve.restore(size)
	if err == nil {
		s.manifest.edits = next.EditLog()
		s.noteManifestLocked()
	}
	return err
}

// settleManifest makes the manifest that Open goes by one that no power loss takes
// back. That which it found may have a name, or a last edit, in memory only.
func (s *Store) settleManifest() error {
	s.manifest.mu.Lock()
	own := s.manifest.edits != (segment.EditLog{})
	s.manifest.mu.Unlock()
	if own {
		return nil
	}
	return s.edit(true, func(*segment.Manifest) error { return nil })
}

// nextID gives a file number that no file of this store ever had.
func (s *Store) nextID() segment.ID {
	s.manifest.mu.Lock()
	defer s.manifest.mu.Unlock()
	id := s.manifest.current.NextID
	s.manifest.current.NextID++
	return id
}

// writeFailed decides what an error on the writing side means. An I/O error, and
// any failure of a sync or of a rename, is final: what the disk holds is no
// longer known, and asking again proves nothing. So is a file system that has
// become read-only, which is what one does after an I/O error of its own. Others,
// such as a full disk or too many open files, leave the store as it was.
func (s *Store) writeFailed(err error) error {
	if isFinal(err) || publishFailed(err) {
		return s.syncFailed(err)
	}
	return err
}

// isFinal says whether an error of a write means that nothing more is written.
func isFinal(err error) bool { return errors.Is(err, errno.EIO) || errors.Is(err, errno.EROFS) }

// syncFailed is writeFailed for a sync, after which nothing is known.
func (s *Store) syncFailed(err error) error {
	s.syncer.Fail(err)
	s.events.failed(s.syncer.Err())
	return s.failed()
}

// failed is ErrFailed with its cause, nil while the store takes writes.
func (s *Store) failed() error {
	if err := s.syncer.Err(); err != nil {
		return &failure{err}
	}
	return nil
}

// publishFailed says whether publishing a file failed where it cannot be undone.
func publishFailed(err error) bool {
	var publish *fsync.PublishError
	return errors.As(err, &publish) && (publish.Tried || publish.SyncFailed)
}

// isFull says whether an error means that there is no room.
func isFull(err error) bool {
	return errors.Is(err, errno.ENOSPC) || errors.Is(err, errno.EDQUOT) || errors.Is(err, errno.EFBIG)
}

// isScarce says whether an error means that the process, or the system, has too little
// of what opening a file takes. It says nothing about the file.
func isScarce(err error) bool {
	return errors.Is(err, errno.EMFILE) || errors.Is(err, errno.ENFILE) || errors.Is(err, errno.ENOMEM)
}
