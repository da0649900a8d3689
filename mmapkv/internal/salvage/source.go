package salvage

import (
	"bytes"
	"io"
	"sort"

	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// maxEnd is beyond the end of any segment.
const maxEnd = 1 << 33

// source is a segment that Run reads.
type source struct {
	name       string
	number     int32 // its index in salvage.sources
	id         segment.ID
	kind       segment.Kind
	salt       uint64
	replaces   []segment.ID
	size       int64 // of the file
	start, end int64 // of its records
	known      bool  // the records are known to end at end and not before it
	hint       *segment.Table
	partial    segment.Range // what its partial hints know
	missing    bool          // there is no file
	headless   bool          // its header is damaged

	reached   int64            // the end of the last record that validates
	bad       []segment.Damage // ranges without valid records
	badValues bool             // some value cannot be read
	open      []undecided      // records of a batch that may not be whole
	refused   error            // why the disk refused to read some of the file
}

// undecided is a record that may count or not.
type undecided struct {
	fp fingerprint
	version
	damaged bool
	key     []byte // if it is damaged
}

// scan finds the records of a file, and adds them to s.newest.
func (s *salvage) scan(in *source) error {
	f, err := s.open(in.name)
	if err != nil {
		return err
	}
	defer f.Close()
	s.report.Files++
	err = segment.Scan(f, in.salt, in.start, in.end, func(e segment.Entry) {
		in.reached = e.Offset + e.Size
		s.take(in, e)
		s.showProgress(s.scanned + in.reached)
	}, func(d segment.Damage) { in.bad = append(in.bad, d) })
	if err != nil {
		return err
	}
	in.refused = f.Refused
	s.scanned += in.size
	if !in.known && in.headless && in.reached == 0 {
		in.bad = []segment.Damage{{Offset: 0, Length: in.end}}
	}
	if !in.known {
		err = in.forgiveZeros(f)
	}
	for _, d := range in.bad {
		s.loseRange(in, d)
	}
	return err
}

// take adds a record to s.newest, or to what is undecided.
func (s *salvage) take(in *source, e segment.Entry) {
	if s.inGap(in, e.Seq) {
		s.report.Discarded += e.Size
		return
	}
	s.report.Records++
	if e.Flags&segment.HasWatermark != 0 {
		s.watermark = max(s.watermark, e.Watermark)
	}
	h := undecided{fp: s.newest.hash.of(e.Key), version: s.place(in, e.Offset, e.Seq)}
	switch {
	case s.isGone(e.Flags, e.Expiry):
		h.file = noFile
	case !e.ValueOK:
		h.damaged, h.key = true, append([]byte{}, e.Key...)
		in.badValues = true
	}
	if s.manifest != nil || in.kind != segment.Log {
		s.count(h)
		return
	}
	s.lastSeq = max(s.lastSeq, e.Seq)
	if n := len(in.open); n > 0 && in.open[n-1].seq+1 != e.Seq {
		s.countAll(in) // damage has taken the rest of that batch
	}
	in.open = append(in.open, h)
	if e.Flags&segment.BatchGoesOn == 0 {
		s.countAll(in)
	}
}

// place is where a record lies.
func (s *salvage) place(in *source, offset int64, seq uint64) version {
	return version{seq: seq, file: in.number, unit: uint32(offset / segment.Alignment)}
}

// isGone says whether a record ends its key: a tombstone, or one that has expired.
func (s *salvage) isGone(flags segment.Flags, expiry int64) bool {
	return flags&segment.Tombstone != 0 || flags&segment.Expires != 0 && expiry <= s.Now.UnixMilli()
}

// countAll adds the undecided records of a file to s.newest.
func (s *salvage) countAll(in *source) {
	for _, h := range in.open {
		s.count(h)
	}
	in.open = in.open[:0]
}

func (s *salvage) count(h undecided) {
	if h.damaged {
		s.newest.addDamaged(h.fp, h.key, h.version)
	} else {
		s.newest.add(h.fp, h.version)
	}
}

// askHint learns from the hint which keys and deletes lay where nothing can be read. The
// deletes count all the same.
func (s *salvage) askHint(in *source) {
	if in.hint != nil && len(in.bad) > 0 {
		s.ask(in, in.hint)
	}
}

// ask learns from one table what lay in the bad ranges of a source.
func (s *salvage) ask(in *source, table *segment.Table) {
	for e, err := range table.Entries() {
		if err != nil {
			continue // the entries of one part cannot be read; the others can
		}
		if e.Offset >= in.end || !in.isBad(e.Offset) || s.inGap(in, e.Seq) {
			continue
		}
		h := undecided{fp: s.newest.hash.of(e.Key), version: s.place(in, e.Offset, e.Seq)}
		if s.isGone(e.Flags, e.Expiry) {
			h.file = noFile
		} else {
			h.damaged, h.key = true, bytes.Clone(e.Key)
		}
		s.count(h)
	}
}

// isBad says whether an offset lies in a range without valid records.
func (in *source) isBad(offset int64) bool {
	i := sort.Search(len(in.bad), func(i int) bool { return in.bad[i].Offset > offset })
	return i > 0 && offset-in.bad[i-1].Offset < in.bad[i-1].Length
}

// forgiveZeros takes the zeros at the end of a file out of the bad ranges: that space was
// never written to, unless the hint covers it.
func (in *source) forgiveZeros(f *patient.Reader) error {
	n := len(in.bad)
	if n == 0 || in.bad[n-1].Offset+in.bad[n-1].Length != in.end {
		return nil
	}
	from := in.bad[n-1].Offset
	to := max(from, min(in.partial.To.Offset, in.end))
	if in.hint != nil {
		to = max(to, min(in.hint.Covers.Offset, in.end))
	}
	end, err := lastNonZero(f, to, in.end)
	if err != nil {
		return err
	}
	if end == from {
		in.bad = in.bad[:n-1]
	} else {
		in.bad[n-1].Length = end - from
	}
	return nil
}

// lastNonZero returns the end of the last byte in [from, to) of a file that is not zero, or
// from.
func lastNonZero(f io.ReaderAt, from, to int64) (int64, error) {
	buffer := make([]byte, min(64<<10, to-from))
	for to > from {
		piece := buffer[:min(int64(len(buffer)), to-from)]
		n, err := f.ReadAt(piece, to-int64(len(piece)))
		if err != nil && err != io.EOF {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			if piece[i] != 0 {
				return to - int64(len(piece)) + int64(i) + 1, nil
			}
		}
		to -= int64(len(piece))
	}
	return from, nil
}
