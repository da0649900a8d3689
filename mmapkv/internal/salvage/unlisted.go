package salvage

import (
	"cmp"
	"slices"
	"sort"

	"github.com/mmapkv/mmapkv/segment"
)

// gap is numbers that the log passes over: those between the two.
type gap struct{ after, before uint64 }

// readUnlisted reads a directory without a manifest.
func (s *salvage) readUnlisted() error {
	for _, c := range s.found {
		if err := s.addUnlisted(c); err != nil {
			return err
		}
	}
	s.joinGaps()
	s.present = map[segment.ID]bool{}
	for _, in := range s.sources {
		s.present[in.id] = true
	}
	// A merged file comes before those that it replaces, which have lower ids.
	order := slices.Clone(s.sources)
	slices.SortStableFunc(order, func(a, b *source) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), -cmp.Compare(a.id, b.id))
	})
	replaced := map[segment.ID]bool{}
	for _, in := range order {
		dead := replaced[in.id]
		if dead {
			s.report.Unread = append(s.report.Unread, in.name)
		} else {
			if err := s.scan(in); err != nil {
				return err
			}
			s.askHint(in)
			if err := s.askPartials(in); err != nil {
				return err
			}
		}
		if dead || s.finished(in) {
			for _, id := range in.replaces {
				replaced[id] = replaced[id] || id < in.id
			}
		}
	}
	for _, in := range s.sources {
		s.cutOpenBatch(in)
	}
	return nil
}

// addUnlisted makes a source of a file, and learns from its hint.
func (s *salvage) addUnlisted(c *foundFile) error {
	in := &source{name: c.name, number: int32(len(s.sources)), id: c.id, kind: segment.Log, salt: c.guess}
	if c.unread != nil {
		s.miss(in, c.unread)
		return nil
	}
	s.begin(in, c)
	if c.err == nil {
		in.id, in.kind, in.salt, in.replaces = c.header.ID, c.header.Kind, c.header.Salt, c.header.Replaces
	}
	s.sources = append(s.sources, in)
	s.total += 2 * in.size
	if err := s.readHint(in); err != nil {
		return err
	}
	if in.hint != nil {
		in.end = max(in.end, min(in.hint.Covers.Offset, maxEnd))
		s.watermark = max(s.watermark, in.hint.Watermark, in.hint.Covers.Seq)
	}
	if err := s.readPartials(in); err != nil {
		return err
	}
	in.end = max(in.end, in.partial.To.Offset)
	s.watermark = max(s.watermark, in.partial.To.Seq)
	return s.findGap(in)
}

// findGap notes what the first record of a file says of the file before.
func (s *salvage) findGap(in *source) error {
	f, err := s.open(in.name)
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := segment.NewScanner(f, in.salt, in.start, in.end).Next()
	if refusesUs(err) {
		return err
	}
	if err == nil && e.Flags&segment.HasPrevious != 0 && e.Previous.Seq < e.Seq {
		s.gaps = append(s.gaps, gap{e.Previous.Seq, e.Seq})
	}
	return nil
}

// joinGaps sorts the gaps and joins those that overlap.
func (s *salvage) joinGaps() {
	slices.SortFunc(s.gaps, func(a, b gap) int { return cmp.Compare(a.after, b.after) })
	var joined []gap
	for _, v := range s.gaps {
		if n := len(joined); n > 0 && v.after < joined[n-1].before-1 {
			joined[n-1].before = max(joined[n-1].before, v.before)
		} else {
			joined = append(joined, v)
		}
	}
	s.gaps = joined
}

// inGap says whether the log passes over a number. A record in a merged file has counted.
func (s *salvage) inGap(in *source, seq uint64) bool {
	if in.kind != segment.Log {
		return false
	}
	i := sort.Search(len(s.gaps), func(i int) bool { return s.gaps[i].after >= seq })
	return i > 0 && seq < s.gaps[i-1].before
}

// finished says whether the compaction that made a file has finished, so that the files
// which it replaces no longer count. It has if the file reads back whole and has its hint,
// which is written last. If one of the replaced files is gone already, either is enough.
func (s *salvage) finished(in *source) bool {
	if in.kind != segment.Merged {
		return false
	}
	for _, id := range in.replaces {
		if !s.present[id] {
			return in.hint != nil || in.reached == in.size
		}
	}
	return in.hint != nil && len(in.bad) == 0 && !in.badValues
}

// cutOpenBatch decides about a batch at the end of a file that is not whole. At the end of
// the log only what was on disk counts: damage has taken the rest of that. Elsewhere all of
// it counts, for the same reason.
func (s *salvage) cutOpenBatch(in *source) {
	n := len(in.open)
	if n > 0 && in.open[n-1].seq == s.lastSeq {
		kept := sort.Search(n, func(i int) bool { return in.open[i].seq > s.watermark })
		if kept < n {
			s.report.Discarded += in.reached - in.open[kept].offset()
		}
		in.open = in.open[:kept]
	}
	s.countAll(in)
}
