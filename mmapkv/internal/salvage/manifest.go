package salvage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// readManifest reads the manifest, and decides whether to go by it.
func (s *salvage) readManifest(names []string) error {
	ours := slices.ContainsFunc(names, func(name string) bool {
		_, kind, ok := segment.ParseFileName(name)
		return ok && (kind == segment.SegmentFile || kind == segment.HintFile || kind == segment.ManifestFile)
	})
	if !ours {
		return fmt.Errorf("mmapkv: there is no store: %w", &fs.PathError{Op: "open", Path: s.from, Err: fs.ErrNotExist})
	}
	s.report.Unfinished = listing.Unfinished(names)
	if s.IgnoreManifest {
		return nil
	}
	content, err := s.content(segment.ManifestName, segment.MaxManifestSize)
	if err == nil {
		s.manifest, err = segment.ParseManifest(content)
	}
	switch {
	case errors.Is(err, segment.ErrVersion):
		s.version = err
	case refusesUs(err):
		return err
	case errors.Is(err, fs.ErrNotExist) && s.report.Unfinished:
		err = errors.New(listing.UnfinishedReason)
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("it is missing")
	}
	if err == nil {
		if err = s.checkManifest(names); refusesUs(err) {
			return err
		}
	}
	if err != nil {
		s.noteDamage(segment.ManifestName, 0, err.Error())
		s.manifest = nil
	}
	s.report.Manifest = err == nil
	return nil
}

// checkManifest returns an error if there are files that are newer than the manifest, so
// that it cannot be relied on.
func (s *salvage) checkManifest(names []string) error {
	open := func(name string) (vfs.File, error) { return s.open(name) }
	newer, err := listing.FindNewer(open, names, s.manifest)
	if refusesUs(err) {
		return err
	}
	if len(newer) > 0 {
		return errors.New(listing.OlderManifest(newer, s.manifest))
	}
	return nil // what cannot be read is reported where it is needed
}
