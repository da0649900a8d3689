package catalog

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/mmapkv/mmapkv/segment"
)

// Files that the manifest does not name: not yet, when they are made, and no longer,
// when they are removed.

// CreateFile makes a file for the log that is not listed yet.
func (c *Catalog) CreateFile(capacity int64) (*File, error) {
	h := segment.Header{ID: c.NextID(), Salt: c.Random(), Kind: segment.Log}
	active, err := segment.Create(c.Dir, h, capacity)
	if err != nil {
		return nil, err
	}
	active.SetLimit(h.Size())
	f := &File{Segment: active.Segment, Active: active, DataStart: h.Size(), Capacity: capacity,
		name: NameOf(c.Dir, segment.FileName(h.ID))}
	c.LockNew(f)
	return f, nil
}

// SyncNewFile makes a new file's bytes and its name durable.
func (c *Catalog) SyncNewFile(f *File) error {
	err := f.Active.Sync()
	if err == nil {
		err = c.Dir.Sync()
	}
	if err != nil {
		return c.Latch.SyncError(err)
	}
	return nil
}

// DropUnlisted removes a file that was not listed in the end.
func (c *Catalog) DropUnlisted(f *File) {
	if !c.Files.has(f) {
		c.RemoveFile(f)
	}
}

// RemoveFile retires a file that is not listed, and unlinks it.
func (c *Catalog) RemoveFile(f *File) {
	c.Retired.Retire(f)
	c.Remove(segment.FileName(f.ID))
}

// Remove unlinks a file that the manifest does not name. Where that fails, the
// next Open does it. After a failure nothing is unlinked: it is not known which
// manifest the disk holds.
func (c *Catalog) Remove(name string) {
	if err := c.Unlink(name); err != nil {
		c.Message(slog.LevelWarn, "mmapkv: a file that is no longer needed could not be removed", "file", name, "error", err)
	}
}

// RemoveHint is remove for a hint, which need not be there.
func (c *Catalog) RemoveHint(id segment.ID) {
	if err := c.Unlink(segment.HintName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Message(slog.LevelWarn, "mmapkv: a hint that is no longer needed could not be removed", "file", segment.HintName(id), "error", err)
	}
}

func (c *Catalog) Unlink(name string) error {
	if c.Syncer.Err() != nil {
		return nil
	}
	return c.Dir.Remove(name)
}

// MaxUnlisted is how many file numbers a session may use at most from one edit of
// the manifest to the next. A file with a number beyond that is not of this store,
// and must not use up the numbers.
const MaxUnlisted = 1 << 20

// firstFreeID is a file number that the manifest has not given and above those that
// the directory shows: one that was made and never listed is not reused either.
func firstFreeID(next segment.ID, names []string) segment.ID {
	free := next
	for _, name := range names {
		if id, _, ours := segment.ParseFileName(name); ours && id < next+MaxUnlisted {
			free = max(free, id+1)
		}
	}
	return free
}

// RemoveOrphans unlinks files of ours that the manifest does not name: what a
// crash left between making a file and listing it, or between delisting and
// unlinking it. None is newer than the manifest: see refuseNewer.
//
// The manifest may have got its name, or its last edit, a moment before
// its process was killed, and that be in memory only; the one before it, which a power
// loss would bring back, may name these files. So a manifest of our own comes first.
func (c *Catalog) RemoveOrphans() error {
	names, err := c.Dir.Names()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, f := range c.Files.Order {
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
	if err := c.Manifest.settle(c.Edit); err != nil {
		return err
	}
	for _, name := range orphans {
		c.Remove(name)
	}
	return nil
}

// LockNew keeps a new file in memory if the options say so. It goes without where
// the system does not let the process have more.
func (c *Catalog) LockNew(f *File) {
	if !c.LockMemory {
		return
	}
	if err := f.Lock(); err != nil {
		c.Message(slog.LevelWarn, "mmapkv: a new segment is not locked in memory", "file", segment.FileName(f.ID), "error", err)
	}
}
