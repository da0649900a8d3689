package catalog

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
	Mu      rank.Mutex[rank.Manifest] // guards the rest
	Current segment.Manifest
	free    []segment.SegmentInfo // memory for the next list
	Edits   segment.EditLog       // where the next edit goes; no room behind a manifest that Open found
	encoded []byte                // memory for it

	identity   vfs.Identity // of the file, as far as it is identified: see watch.go
	Identified bool
}

// Edit publishes a changed manifest. On a nil return it is durable. mayReserve
// lets it use the reserve on a full disk. An error of the change is returned, and
// nothing is published.
func (c *Catalog) Edit(mayReserve bool, change func(m *segment.Manifest) error) error {
	if err := c.Latch.Err(); err != nil {
		return err
	}
	m := &c.Manifest
	m.Mu.Lock()
	defer m.Mu.Unlock()
	if m.Identified {
		if err := c.checkNamesLocked(); err != nil {
			return c.Latch.SyncError(err) // nothing is put where somebody else has put something
		}
	}
	next := m.Current
	next.Segments = append(m.free[:0], m.Current.Segments...)
	next.Edit++
	next.Watermark = max(next.Watermark, c.Syncer.Durable())
	next.LastSeq = max(next.LastSeq, c.LastGiven.Load())
	if err := change(&next); err != nil {
		return err
	}
	for _, info := range next.Segments {
		if info.Sealed {
			next.SealedSeq = max(next.SealedSeq, info.End.Seq)
		}
	}
	if next.NextID > segment.MaxNextID {
		return ErrUsedUp
	}
	done, left, err := m.appendLocked(c.Dir, &next)
	if !done && err == nil {
		next.Salt = c.Random()
		if err = m.replaceLocked(c.Dir, c.Reserve, &next, left, mayReserve); err == nil {
			c.noteManifestLocked()
		}
	}
	if errors.Is(err, fs.ErrNotExist) && m.Identified {
		err = errors.Join(c.checkNamesLocked(), err) // it says more
	}
	if err != nil {
		return c.Latch.WriteError(err)
	}
	m.free = m.Current.Segments
	m.Current = next
	return nil
}

// settle makes a manifest that Open found one that no power loss takes back: it may
// have its name, or its last edit, in memory only.
func (m *manifestLog) settle(edit func(mayReserve bool, change func(*segment.Manifest) error) error) error {
	m.Mu.Lock()
	own := m.Edits != (segment.EditLog{})
	m.Mu.Unlock()
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
	m.encoded = m.Edits.Encode(m.encoded[:0], &m.Current, next)
	if len(m.encoded) == 0 {
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
	for _, place := range m.Edits.Places() {
		n, err := vfs.WriteFull(f, m.encoded, place)
		if n > 0 {
			left = len(m.encoded)
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
	m.Edits.Wrote(len(m.encoded))
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
		m.Edits = next.EditLog()
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
	for _, place := range m.Edits.Places() {
		if _, err := vfs.WriteFull(f, make([]byte, size), place); err != nil {
			return err
		}
	}
	return f.Datasync()
}

// NextID gives a file number that no file of this store ever had.
func (c *Catalog) NextID() segment.ID {
	c.Manifest.Mu.Lock()
	defer c.Manifest.Mu.Unlock()
	id := c.Manifest.Current.NextID
	c.Manifest.Current.NextID++
	return id
}

// MaxWritableSeq is the highest number behind which a store goes on writing.
const MaxWritableSeq = segment.MaxSeq - replay.MaxUntold

// ErrUsedUp: what would be written now the next Open would not believe. No store comes
// so far by itself.
var ErrUsedUp = errors.New("mmapkv: the store has used up its numbers; `mmapkv salvage FROM TO` makes a new one of it")
