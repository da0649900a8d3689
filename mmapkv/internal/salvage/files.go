package salvage

import (
	"cmp"
	"errors"

	"github.com/mmapkv/mmapkv/segment"
)

// foundFile is a file that may be a segment.
type foundFile struct {
	name   string
	id     segment.ID // from its name
	size   int64
	header segment.Header
	err    error  // why the header is not valid
	guess  uint64 // of the salt, if the header is not valid
	unread error  // why the file cannot even be opened
	used   bool   // the manifest names it
}

// findFiles finds the files that may be segments, and reads their headers.
func (s *salvage) findFiles(names []string) error {
	for _, name := range names {
		id, kind, ours := segment.ParseFileName(name)
		if !ours || kind != segment.SegmentFile {
			continue
		}
		c := &foundFile{name: name, id: id}
		if err := s.inspect(c); err != nil {
			return err
		}
		s.found = append(s.found, c)
	}
	return nil
}

// inspect reads the header of a file.
func (s *salvage) inspect(c *foundFile) error {
	f, err := s.open(c.name)
	if refusesUs(err) {
		return err
	}
	if err != nil {
		c.unread = err
		return nil
	}
	defer f.Close()
	if c.size, c.unread = f.Size(); c.unread != nil {
		return nil
	}
	if c.header, c.err = segment.ReadHeader(f, c.size); c.err == nil {
		return nil
	}
	if refusesUs(c.err) {
		return c.err
	}
	if errors.Is(c.err, segment.ErrVersion) {
		s.version = c.err
	}
	c.guess, err = segment.GuessSalt(f)
	if errors.Is(err, segment.ErrHeader) {
		return nil
	}
	return err
}

// finder returns a function that finds the file which the manifest means: by its header,
// or by its name if its header is damaged.
func (s *salvage) finder() func(segment.SegmentInfo) *foundFile {
	type header struct {
		id   segment.ID
		salt uint64
	}
	valid, named := map[header]*foundFile{}, map[segment.ID]*foundFile{}
	for _, c := range s.found {
		if c.unread != nil || c.err != nil {
			named[c.id] = c
			continue
		}
		h := header{c.header.ID, c.header.Salt}
		if valid[h] == nil || c.id == h.id {
			valid[h] = c
		}
	}
	return func(info segment.SegmentInfo) *foundFile {
		return cmp.Or(valid[header{info.ID, info.Salt}], named[info.ID])
	}
}
