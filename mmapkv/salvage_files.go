package mmapkv

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/mmapkv/internal/replay"
	"github.com/mmapkv/mmapkv/segment"
)

// mostEnd is behind the end of every segment.
const mostEnd = 1 << 33

// foundFile is a file that may be a segment.
type foundFile struct {
	name   string
	id     segment.ID // by its name
	size   int64
	header segment.Header
	err    error  // why header is not valid
	guess  uint64 // the salt, then
	unread error  // the file cannot even be opened
	used   bool
}

// findFiles looks at the headers.
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

// readListed reads what the manifest names.
func (s *salvage) readListed() error {
	find := s.finder()
	var unsealed []*source
	for i, info := range s.manifest.Segments {
		in := &source{name: segment.FileName(info.ID), number: int32(i), id: info.ID, kind: info.Kind, salt: info.Salt,
			start: segment.HeaderSize, end: mostEnd}
		s.sources = append(s.sources, in)
		c := find(info)
		if c == nil {
			s.miss(in, errors.New("the manifest names it, and it is missing"))
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
			s.readHint(in)
			s.askHint(in)
		}
	}
	return nil
}

// finder finds the file that the manifest means: by its header, or by its name if
// its header is damaged.
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

// miss reports a segment of which nothing can be read. All of it is bad.
func (s *salvage) miss(in *source, err error) {
	s.report.Missing = append(s.report.Missing, in.name)
	s.noteDamage(in.name, 0, err.Error())
	in.missing, in.bad = true, []segment.Damage{{Offset: 0, Length: in.end}}
}

// begin makes a source of the whole file.
func (s *salvage) begin(in *source, c *foundFile) {
	in.size, in.end = c.size, min(c.size, mostEnd)
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
		found[i], err = replay.ScanFile(files[i], in.salt, replay.File{DataStart: in.start, Size: size}, s.manifest.LastSeq, nil)
		if err != nil {
			return fmt.Errorf("mmapkv: scanning %s: %w", segment.FileName(in.id), err)
		}
		watermark = max(watermark, found[i].Watermark)
	}
	// What is damaged is found, and told, when the records are read.
	parts := replay.Decide(found, s.manifest.SealedSeq, watermark, func(int, replay.Record) {})
	for i, part := range parts {
		unsealed[i].end, unsealed[i].known = part.End.Offset, true
		s.report.Discarded += part.Discarded
	}
	return nil
}

// void is numbers that the log passes over, those between the two.
type void struct{ after, before uint64 }

// readUnlisted reads a directory without a manifest.
func (s *salvage) readUnlisted() error {
	for _, c := range s.found {
		if err := s.addUnlisted(c); err != nil {
			return err
		}
	}
	s.joinVoids()
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

// addUnlisted makes a source of a file.
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
	s.readHint(in)
	if in.hint != nil {
		in.end = max(in.end, min(in.hint.Covers.Offset, mostEnd))
		s.watermark = max(s.watermark, in.hint.Watermark, in.hint.Covers.Seq)
	}
	return s.findVoid(in)
}

// findVoid looks what the first record of a file says of the one before.
func (s *salvage) findVoid(in *source) error {
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
		s.voids = append(s.voids, void{e.Previous.Seq, e.Seq})
	}
	return nil
}

// joinVoids sorts the voids and makes one of those that overlap.
func (s *salvage) joinVoids() {
	slices.SortFunc(s.voids, func(a, b void) int { return cmp.Compare(a.after, b.after) })
	var joined []void
	for _, v := range s.voids {
		if n := len(joined); n > 0 && v.after < joined[n-1].before-1 {
			joined[n-1].before = max(joined[n-1].before, v.before)
		} else {
			joined = append(joined, v)
		}
	}
	s.voids = joined
}

// isVoid says whether the log passes over a number. What was merged has counted.
func (s *salvage) isVoid(in *source, seq uint64) bool {
	if in.kind != segment.Log {
		return false
	}
	i := sort.Search(len(s.voids), func(i int) bool { return s.voids[i].after >= seq })
	return i > 0 && seq < s.voids[i-1].before
}

// finished says whether the compaction that made a merged file came to its end, so
// that what the file replaces is dead.
func (s *salvage) finished(in *source) bool {
	if in.kind != segment.Merged {
		return false
	}
	for _, id := range in.replaces {
		if !s.present[id] {
			return in.hint != nil || in.reached == in.size
		}
	}
	return in.hint != nil && len(in.bad) == 0 && !in.spoilt
}

// cutOpenBatch decides on the batch at the end of a file whose last record is
// missing. At the end of the log it does not count, unless it was on disk: then
// damage took the rest of it, as it did elsewhere.
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

// readHint reads a source's hint, if it is whole. One that is longer than that of any
// segment of this length has holes, or its segment was cut: then the manifest knows
// how long that was.
func (s *salvage) readHint(in *source) {
	content, err := s.content(segment.HintName(in.id), segment.MaxHintSize(max(in.size, in.end)))
	if err == nil {
		in.hint, _ = segment.ParseHint(content, in.id, in.salt)
	}
}
