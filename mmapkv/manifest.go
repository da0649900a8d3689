package mmapkv

import (
	"errors"
	"io/fs"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/mmapkv/internal/reserve"
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
	if err := s.latch.Err(); err != nil {
		return err
	}
	m := &s.manifest
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identified {
		if err := s.checkNamesLocked(); err != nil {
			return s.latch.SyncError(err) // nothing is put where somebody else has put something
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
	done, left, err := m.appendLocked(s.dir, &next)
	if !done && err == nil {
		next.Salt = s.random()
		if err = m.replaceLocked(s.dir, s.reserve, &next, left, mayReserve); err == nil {
			s.noteManifestLocked()
		}
	}
	if errors.Is(err, fs.ErrNotExist) && m.identified {
		err = errors.Join(s.checkNamesLocked(), err) // it says more
	}
	if err != nil {
		return s.latch.WriteError(err)
	}
	m.free = m.current.Segments
	m.current = next
	return nil
}

// settle makes a manifest that Open found one that no power loss takes back: it may
// have its name, or its last edit, in memory only.
func (m *manifestLog) settle(edit func(mayReserve bool, change func(*segment.Manifest) error) error) error {
	m.mu.Lock()
	own := m.edits != (segment.EditLog{})
	m.mu.Unlock()
	if own {
		return nil
	}
	return edit(true, func(*segment.Manifest) error { return nil })
}

// appendLocked writes the edit that makes the next manifest into the room for it,
// twice, and syncs that. Where this does not work it has done nothing, or left
// something of so many bytes at one of the places, or returns the error, after
// which nobody knows what is on disk.
func (m *manifestLog) appendLocked(dir vfs.Dir, next *segment.Manifest) (done bool, left int, err error) {
	m.edit = m.edits.Encode(m.edit[:0], &m.current, next)
	if len(m.edit) == 0 {
		return false, 0, nil
	}
	f, err := dir.Open(segment.ManifestName)
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
		case errno.Final(err):
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

// replaceLocked makes the next manifest durable as a new file. Where that does not
// work, nobody may find later what was left of an edit that was not made.
func (m *manifestLog) replaceLocked(dir vfs.Dir, r *reserve.Reserve, next *segment.Manifest, left int, mayReserve bool) error {
	err := m.publishLocked(dir, r, next, mayReserve)
	if err == nil || failure.PublishFailed(err) || left == 0 {
		return err
	}
	if eraseErr := m.eraseLocked(dir, left); eraseErr != nil {
		return &fsync.PublishError{Name: segment.ManifestName, Step: "taking back an edit", Tried: true, Err: errors.Join(err, eraseErr)}
	}
	return err
}

// publishLocked writes a full copy. On a full disk the room of the old manifest is for
// the reserve, when the new one is in its place.
func (m *manifestLog) publishLocked(dir vfs.Dir, r *reserve.Reserve, next *segment.Manifest, mayReserve bool) error {
	content := next.Append(nil)
	size := int64(len(content))
	publish := func() error { return fsync.Publish(dir, segment.ManifestName, content, nil) }
	err := publish()
	for _, give := range []func() bool{
		func() bool { return r.GiveFile(0) },
		func() bool { return r.Give(size, 0) },
		r.GiveAll,
	} {
		for mayReserve && errno.OutOfSpace(err) && !failure.PublishFailed(err) && give() {
			err = publish()
		}
	}
	r.Restore(size)
	if err == nil {
		m.edits = next.EditLog()
	}
	return err
}

// eraseLocked overwrites what was left of an edit.
func (m *manifestLog) eraseLocked(dir vfs.Dir, size int) error {
	f, err := dir.Open(segment.ManifestName)
	if err != nil {
		return err
	}
	defer f.Close() // what counts is synced before
	for _, place := range m.edits.Places() {
		if _, err := vfs.WriteFull(f, make([]byte, size), place); err != nil {
			return err
		}
	}
	return f.Datasync()
}

// nextID gives a file number that no file of this store ever had.
func (s *Store) nextID() segment.ID {
	s.manifest.mu.Lock()
	defer s.manifest.mu.Unlock()
	id := s.manifest.current.NextID
	s.manifest.current.NextID++
	return id
}

// maxWritableSeq is the highest number behind which a store goes on writing.
const maxWritableSeq = segment.MaxSeq - replay.MaxUntold

// errUsedUp: what would be written now the next Open would not believe. No store comes
// so far by itself.
var errUsedUp = errors.New("mmapkv: the store has used up its numbers; `mmapkv salvage FROM TO` makes a new one of it")
