package catalog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// ReadManifest reads the manifest. If the directory, which has these names, never held a
// store, it makes the manifest of a new one, or returns fs.ErrNotExist if ReadOnly. An error
// about damage wraps failure.ErrCorrupt; failure.ErrVersion means an unknown version.
func (c *Catalog) ReadManifest(names []string) (*segment.Manifest, error) {
	m, err := c.parseManifestFile()
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if reason := listing.WhyNoManifest(names); reason != "" {
		return nil, failure.Refused(failure.Damage{File: segment.ManifestName, Reason: reason})
	}
	if c.ReadOnly {
		return nil, fmt.Errorf("mmapkv: there is no store: %w", err)
	}
	// First the directory's name becomes durable, then the manifest, then the first segment.
	// So a directory without a manifest never held data.
	if err := c.SyncParents(); err != nil {
		return nil, err
	}
	c.Manifest.Current = segment.Manifest{NextID: 1}
	if err := c.Edit(false, func(m *segment.Manifest) error { m.Clean = true; return nil }); err != nil {
		return nil, err
	}
	*m = c.Manifest.Current
	return m, nil
}

// parseManifestFile reads the manifest; fs.ErrNotExist if there is none. Its two halves say the
// same, so one may stand in for what the disk refuses to read of the other.
func (c *Catalog) parseManifestFile() (m *segment.Manifest, err error) {
	f, _, err := patient.OpenBounded(c.Dir, segment.ManifestName, segment.MaxManifestSize)
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
		return nil, fmt.Errorf("%w: %s: %w", failure.ErrVersion, segment.ManifestName, err)
	case err != nil:
		return nil, failure.RefusedBy(failure.Damage{File: segment.ManifestName, Offset: r.RefusedFrom, Reason: r.Why(r.RefusedFrom, 1, err.Error())}, r.Refused)
	case r.Refused != nil:
		c.NoteDamage(failure.Damage{File: segment.ManifestName, Offset: r.RefusedFrom, Reason: r.Refused.Error()})
	}
	return m, nil
}

// GoBy makes the manifest that was read the current one. names are those in the directory.
func (c *Catalog) GoBy(m *segment.Manifest, names []string) {
	c.LastGiven.Store(m.LastSeq)
	c.Manifest.Mu.Lock()
	defer c.Manifest.Mu.Unlock()
	c.Manifest.Current = *m
	c.Manifest.Current.NextID = firstFreeID(m.NextID, names)
	c.noteManifestLocked()
}

// MaxUnlisted is the largest number of file numbers that a store uses between two edits of the
// manifest. A file with a number beyond that is not of this store, and must not use up the
// numbers.
const MaxUnlisted = 1 << 20

// firstFreeID returns the first file number from next on that is above those of the store's files
// in the directory. So the number of a file that was made and never listed is not reused either.
func firstFreeID(next segment.ID, names []string) segment.ID {
	free := next
	for _, name := range names {
		if id, _, ours := segment.ParseFileName(name); ours && id < next+MaxUnlisted {
			free = max(free, id+1)
		}
	}
	return free
}

// OpenFiles opens every file that the manifest lists, and lists it. names are those in the directory.
// It publishes nothing.
func (c *Catalog) OpenFiles(m *segment.Manifest, names []string) error {
	for i, info := range m.Segments {
		known := info.Sealed || m.Clean && i == len(m.Segments)-1
		f, err := c.OpenFile(info, known)
		if err != nil {
			return err
		}
		c.Files.AddLocked(f)
	}
	c.notePartials(names)
	return nil
}

// OpenFile opens a file that the manifest lists. known says that info has its end: it does for
// a sealed file, and for the last one after a clean close. Damage that prevents opening is an
// error that wraps failure.ErrCorrupt.
func (c *Catalog) OpenFile(info segment.SegmentInfo, known bool) (*File, error) {
	name := segment.FileName(info.ID)
	open := c.Dir.Open
	if info.Sealed || c.ReadOnly {
		open = c.Dir.OpenReadOnly
	}
	handle, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.Refused(failure.Damage{File: name, Reason: listing.MissingReason})
	}
	if err != nil {
		return nil, err
	}
	size, header, err := listing.Inspect(handle, info)
	if err != nil {
		err = errors.Join(err, handle.Close())
		if errors.Is(err, segment.ErrVersion) {
			return nil, fmt.Errorf("%w: %s: %w", failure.ErrVersion, name, err)
		}
		return nil, failure.Unusable(name, err)
	}
	f := &File{DataStart: header.Size(), Capacity: c.SegmentSize}
	mapped := size
	if known {
		mapped = info.End.Offset
		if size < info.End.Offset {
			c.NoteDamage(failure.Damage{File: name, Offset: size, Reason: fmt.Sprintf("the file ends here and not at %d", info.End.Offset)})
		}
	}
	if !info.Sealed {
		mapped = max(mapped, c.SegmentSize)
	}
	if f.Segment, err = segment.OpenSegment(handle, header, mapped); err != nil {
		return nil, err
	}
	if known {
		f.End, f.Ended = info.End, true
	}
	f.Alive.Cover(max(f.Capacity, size, f.End.Offset))
	f.SetLimit(f.End.Offset)
	if !info.Sealed {
		f.name = NameOf(c.Dir, name)
		f.Active = segment.NewActive(f.Segment, max(f.End.Offset, f.DataStart))
		// The log goes on only in a file that is exactly what the last close left.
		f.Ended = !known || size != info.End.Offset || info.End.Seq != c.LastGiven.Load()
	}
	return f, nil
}
