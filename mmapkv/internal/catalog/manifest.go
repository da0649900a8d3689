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

// manifestLog is the current manifest, and where its next edit goes.
type manifestLog struct {
	Mu      rank.Mutex[rank.Manifest] // guards the rest
	Current segment.Manifest
	Edits   segment.EditLog       // where the next edit goes; no room until this process writes a full copy
	encoded []byte                // memory for the next edit
	free    []segment.SegmentInfo // memory for the next list

	identity   vfs.Identity // of MANIFEST
	Identified bool         // identity is known
}

// Edit applies a change to a copy of the current manifest, and makes that the current one. On
// a nil return it is durable. If change returns an error, Edit returns it and changes nothing.
// Every edit also raises the manifest's Watermark, LastSeq and SealedSeq to what they are by then.
// mayReserve allows Edit to use the reserve on a full disk. Other errors are ErrUsedUp, an
// error that wraps failure.ErrFailed, and those after which the old manifest still holds, such
// as a full disk.
func (c *Catalog) Edit(mayReserve bool, change func(m *segment.Manifest) error) error {
	if err := c.Latch.Err(); err != nil {
		return err
	}
	m := &c.Manifest
	m.Mu.Lock()
	defer m.Mu.Unlock()
	if m.Identified {
		if err := c.checkNamesLocked(); err != nil {
			return c.Latch.SyncError(err) // do not overwrite what somebody else put there
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
	checkEdit(&m.Current, &next)
	done, left, err := m.appendLocked(c.Dir, &next)
	if !done && err == nil {
		next.Salt = c.Random()
		if err = m.replaceLocked(c.Dir, c.Reserve, &next, left, mayReserve); err == nil {
			c.noteManifestLocked()
		}
	}
	if errors.Is(err, fs.ErrNotExist) && m.Identified {
		err = errors.Join(c.checkNamesLocked(), err) // the first error says more
	}
	if err != nil {
		return c.Latch.WriteError(err)
	}
	m.free = m.Current.Segments
	m.Current = next
	return nil
}

// commitOwn commits a manifest of this process, unless this process already has. So no power loss
// brings back an earlier manifest: the name of the one that Open found, or its last edit, may be
// in memory only.
func (m *manifestLog) commitOwn(edit func(mayReserve bool, change func(*segment.Manifest) error) error) error {
	m.Mu.Lock()
	own := m.Edits != (segment.EditLog{})
	m.Mu.Unlock()
	if own {
		return nil
	}
	return edit(true, func(*segment.Manifest) error { return nil })
}

// appendLocked writes the edit that turns the current manifest into the next one at both of
// its places, and syncs it. If it is not done and returns no error, the next manifest needs a
// full copy, and either place may hold left bytes of the edit. The error is one after which
// nobody knows what is on disk, or says that somebody removed MANIFEST.
func (m *manifestLog) appendLocked(dir vfs.Dir, next *segment.Manifest) (done bool, left int, err error) {
	m.encoded = m.Edits.Encode(m.encoded[:0], &m.Current, next)
	if len(m.encoded) == 0 {
		return false, 0, nil
	}
	f, err := dir.Open(segment.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, err
	}
	if err != nil {
		return false, 0, nil // if a full copy fails too, its error says what is wrong
	}
	defer f.Close() // what matters is synced before
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

// replaceLocked makes the next manifest durable as a full copy. If that fails, it erases the
// left bytes of an edit that was not made, so that no later Open takes them for one.
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

// publishLocked publishes a full copy. On a full disk it may take room from the reserve, which
// gets the room of the old manifest once the new one has replaced it.
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

// eraseLocked overwrites size bytes at both places of the next edit with zeros, and syncs.
func (m *manifestLog) eraseLocked(dir vfs.Dir, size int) error {
	f, err := dir.Open(segment.ManifestName)
	if err != nil {
		return err
	}
	defer f.Close() // what matters is synced before
	for _, place := range m.Edits.Places() {
		if _, err := vfs.WriteFull(f, make([]byte, size), place); err != nil {
			return err
		}
	}
	return f.Datasync()
}

// NextID returns a file number that no file of this store ever had.
func (c *Catalog) NextID() segment.ID {
	c.Manifest.Mu.Lock()
	defer c.Manifest.Mu.Unlock()
	id := c.Manifest.Current.NextID
	c.Manifest.Current.NextID++
	return id
}

// MaxWritableSeq is the highest sequence number after which a store still writes.
const MaxWritableSeq = segment.MaxSeq - replay.MaxUntold

// ErrNoSlot means that about a million files were begun while the index was loaded. The write can be
// tried again once that has ended.
var ErrNoSlot = errors.New("mmapkv: too many segments were begun while the index is loaded")

// ErrUsedUp means that the next Open would not believe the numbers of what would be written
// now. No store gets that far by itself.
var ErrUsedUp = errors.New("mmapkv: the store has used up its numbers; `mmapkv salvage FROM TO` copies it into a new store")
