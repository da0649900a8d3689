package salvage

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// findPartials finds the partial hints. They say that records were on disk, and may be all that knows
// of some which cannot be read.
func (s *salvage) findPartials(names []string) {
	s.partials = map[segment.ID][]string{}
	for _, name := range names {
		if id, _, ok := segment.ParsePartialName(name); ok {
			s.partials[id] = append(s.partials[id], name)
		}
	}
	for _, of := range s.partials {
		slices.SortFunc(of, func(a, b string) int {
			_, first, _ := segment.ParsePartialName(a)
			_, second, _ := segment.ParsePartialName(b)
			return cmp.Compare(first, second)
		})
	}
}

// eachPartial calls each with the partial hints of a source that can be opened, one after the other.
// One that the system refuses to read ends the salvage, as with a hint.
func (s *salvage) eachPartial(in *source, each func(*segment.Partial)) error {
	for _, name := range s.partials[in.id] {
		content, err := s.content(name, segment.MaxHintSize(maxEnd))
		if refusesUs(err) {
			return err
		}
		if err != nil {
			continue
		}
		if p, err := segment.OpenPartial(bytes.NewReader(content), int64(len(content)), in.id, in.salt, nil); err == nil {
			each(p)
		}
	}
	return nil
}

// readPartials learns from the partial hints of a source how far its records were on disk, and what
// its first record says of the file before.
func (s *salvage) readPartials(in *source) error {
	return s.eachPartial(in, func(p *segment.Partial) {
		in.partial.To.Seq = max(in.partial.To.Seq, p.To.Seq)
		in.partial.To.Offset = max(in.partial.To.Offset, min(p.To.Offset, maxEnd))
		if p.From.Offset == in.start {
			in.partial.From, in.partial.Previous = p.From, p.Previous
		}
	})
}

// askPartials is askHint for partial hints.
func (s *salvage) askPartials(in *source) error {
	if len(in.bad) == 0 {
		return nil
	}
	return s.eachPartial(in, func(p *segment.Partial) { s.ask(in, p.Table) })
}
