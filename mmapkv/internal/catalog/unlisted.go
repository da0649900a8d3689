package catalog

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// The files here are not listed in the manifest: not yet, when they are created, or no longer,
// when they are removed.

// CreateFile creates a file for the log with the given capacity in bytes. The file is neither
// durable nor listed yet.
func (c *Catalog) CreateFile(capacity int64) (*File, error) {
	h := segment.Header{ID: c.NextID(), Salt: c.Random(), Kind: segment.Log}
	active, err := segment.Create(c.Dir, h, capacity)
	if err != nil {
		return nil, err
	}
	active.SetLimit(h.Size())
	f := &File{Segment: active.Segment, Active: active, DataStart: h.Size(), Capacity: capacity,
		name: NameOf(c.Dir, segment.FileName(h.ID))}
	f.Alive.Cover(capacity)
	c.LockNew(f)
	return f, nil
}

// LockNew locks a new file in memory if Options.LockMemory says so. If the system refuses,
// LockNew logs that.
func (c *Catalog) LockNew(f *File) {
	if !c.LockMemory {
		return
	}
	if err := f.Lock(); err != nil {
		c.Message(slog.LevelWarn, "mmapkv: a new segment is not locked in memory", "file", segment.FileName(f.ID), "error", err)
	}
}

// SyncNewFile makes a new file's bytes and its name durable. A failure is final: the error
// wraps failure.ErrFailed.
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

// DropUnlisted removes a new file unless it was listed.
func (c *Catalog) DropUnlisted(f *File) {
	if !c.Files.has(f) {
		c.RemoveFile(f)
	}
}

// RemoveFile retires an unlisted file, and unlinks it.
func (c *Catalog) RemoveFile(f *File) {
	c.Retired.Retire(f)
	c.Remove(segment.FileName(f.ID))
}

// Remove unlinks a file that the manifest does not list. If that fails, Remove logs it, and the
// next Open unlinks the file.
func (c *Catalog) Remove(name string) {
	if err := c.Unlink(name); err != nil {
		c.Message(slog.LevelWarn, "mmapkv: a file that is no longer needed could not be removed", "file", name, "error", err)
	}
}

// RemoveHint unlinks the hint of a file, if there is one. If that fails, RemoveHint logs it.
func (c *Catalog) RemoveHint(id segment.ID) {
	if err := c.Unlink(segment.HintName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Message(slog.LevelWarn, "mmapkv: a hint that is no longer needed could not be removed", "file", segment.HintName(id), "error", err)
	}
}

// Unlink removes a name from the directory. It does nothing once the store has failed, since
// nobody knows then which manifest the disk holds.
func (c *Catalog) Unlink(name string) error {
	if c.Syncer.Err() != nil {
		return nil
	}
	c.checkUnlisted(name)
	return c.Dir.Remove(name)
}

// RemoveOrphans unlinks the store's files that the manifest does not list. A crash leaves them
// between creating a file and listing it, or between delisting a file and unlinking it. None is
// newer than the manifest: listing.RefuseNewer has made sure of that.
//
// The manifest's process may have been killed just after it gave MANIFEST its name, or wrote
// the last edit, so that either is in memory only. A power loss would bring back an earlier
// manifest, which may list these files. So RemoveOrphans first commits a manifest of its own.
func (c *Catalog) RemoveOrphans() error {
	names, err := c.Dir.Names()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, f := range c.Files.Order {
		listed[segment.FileName(f.ID)] = true
		listed[segment.HintName(f.ID)] = true
		for n := range int(f.Partials.Load()) {
			listed[segment.PartialName(f.ID, n)] = true
		}
	}
	var orphans []string
	for _, name := range names {
		_, kind, ours := segment.ParseFileName(name)
		if !ours || listed[name] {
			continue
		}
		switch kind {
		case segment.SegmentFile, segment.HintFile, segment.PartialFile, segment.TemporaryFile:
			orphans = append(orphans, name)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	if err := c.Manifest.commitOwn(c.Edit); err != nil {
		return err
	}
	for _, name := range orphans {
		c.Remove(name)
	}
	return nil
}

// notePartials notes which partial hints there are among the names in the directory. Those of a file
// that is sealed and has the hint of all its records are orphans.
func (c *Catalog) notePartials(names []string) {
	hinted, below := map[segment.ID]bool{}, map[segment.ID]int32{}
	for _, name := range names {
		if id, n, ok := segment.ParsePartialName(name); ok {
			below[id] = max(below[id], int32(n)+1)
		} else if id, kind, _ := segment.ParseFileName(name); kind == segment.HintFile {
			hinted[id] = true
		}
	}
	for _, f := range c.Files.Order {
		if f.Active != nil || !hinted[f.ID] || below[f.ID] > 0 && !c.hintCovers(f) {
			f.Partials.Store(below[f.ID])
		}
	}
}

// hintCovers reports whether the hint of a sealed file is of all its records. One that a clean close
// wrote before the file got more is not.
func (c *Catalog) hintCovers(f *File) bool {
	from, size, err := patient.OpenBounded(c.Dir, segment.HintName(f.ID), segment.MaxHintSize(f.End.Offset))
	if err != nil {
		return false
	}
	defer from.Close()
	hint, err := segment.OpenTable(from, size, f.ID, f.Salt, nil)
	return err == nil && hint.Covers == f.End
}
