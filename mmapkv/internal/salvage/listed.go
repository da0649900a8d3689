package salvage

import (
	"errors"
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// readListed reads the files that the manifest names.
func (s *salvage) readListed() error {
	find := s.finder()
	var unsealed []*source
	for i, info := range s.manifest.Segments {
		in := &source{name: segment.FileName(info.ID), number: int32(i), id: info.ID, kind: info.Kind, salt: info.Salt,
			start: segment.HeaderSize, end: maxEnd}
		s.sources = append(s.sources, in)
		c := find(info)
		if c == nil {
			s.miss(in, errors.New(listing.MissingReason))
			continue
		}
		c.used = true
		in.name = c.name
		if c.unread != nil {
			s.miss(in, c.unread)
			continue
		}
		s.begin(in, c)
		if info.Sealed || s.manifest.Clean && i == len(s.manifest.Segments)-1 {
			in.end, in.known = info.End.Offset, true
		} else {
			unsealed = append(unsealed, in)
		}
		s.total += 2 * in.size
	}
	for _, c := range s.found {
		if !c.used {
			s.report.Unread = append(s.report.Unread, c.name)
		}
	}
	if err := s.endLog(unsealed); err != nil {
		return err
	}
	for _, in := range s.sources {
		if !in.missing {
			if err := s.scan(in); err != nil {
				return err
			}
		}
		if len(in.bad) > 0 {
			if err := s.readHint(in); err != nil {
				return err
			}
			s.askHint(in)
			if err := s.askPartials(in); err != nil {
				return err
			}
		}
	}
	return nil
}

// miss reports a segment of which nothing can be read.
func (s *salvage) miss(in *source, err error) {
	s.report.Missing = append(s.report.Missing, in.name)
	s.noteDamage(in.name, 0, err.Error())
	in.missing, in.bad = true, []segment.Damage{{Offset: 0, Length: in.end}}
}

// begin makes a file the source's, from its first record to its end.
func (s *salvage) begin(in *source, c *foundFile) {
	in.size, in.end = c.size, min(c.size, maxEnd)
	in.start = segment.HeaderSize
	if c.err == nil {
		in.start = c.header.Size()
		return
	}
	in.headless = true
	s.noteDamage(c.name, 0, c.err.Error())
}

// endLog finds how far the log goes in the unsealed files.
func (s *salvage) endLog(unsealed []*source) error {
	files := make([]*patient.Reader, len(unsealed))
	for i, in := range unsealed {
		f, err := s.open(in.name)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	watermark := s.manifest.Watermark
	found := make([]*replay.Scanned, len(unsealed))
	for i, in := range unsealed {
		size, err := files[i].Size()
		if err != nil {
			return err
		}
		if err := s.readPartials(in); err != nil {
			return err
		}
		known := replay.File{DataStart: in.start, Size: size, HasFirst: in.partial.From.Offset > 0, Previous: in.partial.Previous}
		found[i], err = replay.ScanFile(files[i], in.salt, known, s.manifest.LastSeq, nil)
		if err != nil {
			return fmt.Errorf("mmapkv: scanning %s: %w", segment.FileName(in.id), err)
		}
		watermark = max(watermark, found[i].Watermark, in.partial.To.Seq)
	}
	// Damage is found and reported when the records are read.
	parts := replay.Decide(found, s.manifest.SealedSeq, watermark, func(int, replay.Record) {})
	for i, part := range parts {
		unsealed[i].end, unsealed[i].known = max(part.End.Offset, unsealed[i].partial.To.Offset), true
		s.report.Discarded += part.Discarded
	}
	return nil
}
