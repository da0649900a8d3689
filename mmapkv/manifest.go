package mmapkv

import (
	"errors"
	"io/fs"
	"slices"

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

	identity   vfs.Identity // of the file, as far as it is identified: see watch.go
	identified bool
}

// edit publishes a changed manifest. On a nil return it is durable. mayReserve
// lets it use the reserve on a full disk; the room of the old manifest is for the
// reserve then. An error of the change is returned, and nothing is published.
func (s *Store) edit(mayReserve bool, change func(m *segment.Manifest) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	s.manifest.mu.Lock()
	defer s.manifest.mu.Unlock()
	if s.manifest.identified {
		if err := s.checkNamesLocked(); err != nil {
			return s.syncFailed(err) // nothing is put where somebody else has put something
		}
	}
	next := s.manifest.current
	next.Segments = slices.Clone(next.Segments)
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
	content := next.Append(nil)

	err := fsync.Publish(s.dir, segment.ManifestName, content, nil)
	for mayReserve && isFull(err) && !publishFailed(err) && s.reserve.give(int64(len(content)), 0) {
		err = fsync.Publish(s.dir, segment.ManifestName, content, nil)
	}
	s.reserve.restore(int64(len(content)))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && s.manifest.identified {
			err = errors.Join(s.checkNamesLocked(), err) // it says more
		}
		return s.writeFailed(err)
	}
	s.manifest.current = next
	s.noteManifestLocked()
	return nil
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
	if errors.Is(err, errno.EIO) || errors.Is(err, errno.EROFS) || publishFailed(err) {
		return s.syncFailed(err)
	}
	return err
}

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
