package mmapkv

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"sort"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// source is a segment that Salvage reads.
type source struct {
	name       string
	number     int32 // its place in salvage.sources
	id         segment.ID
	kind       segment.Kind
	salt       uint64
	replaces   []segment.ID
	size       int64 // of the file
	start, end int64 // of its records
	known      bool  // the records are known to end at end, and not before
	hint       *segment.Hint
	missing    bool // there is no file
	headless   bool // its header is damaged

	reached int64            // behind the last record that validates
	bad     []segment.Damage // ranges without records
	spoilt  bool             // some value cannot be read
	open    []undecided      // the end of the file, a batch that may not be whole
	refused error            // why something cannot be read
}

// undecided is a record before it is decided whether it counts.
type undecided struct {
	print keyPrint
	version
	damaged bool
	key     []byte // of a damaged one
}

// scan finds the records of a file, and puts them into s.newest.
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

// take puts a record where it belongs.
func (s *salvage) take(in *source, e segment.Entry) {
	if s.isVoid(in, e.Seq) {
		s.report.Discarded += e.Size
		return
	}
	s.report.Records++
	if e.Flags&segment.HasWatermark != 0 {
		s.watermark = max(s.watermark, e.Watermark)
	}
	h := undecided{print: s.newest.hash.of(e.Key), version: s.place(in, e.Offset, e.Seq)}
	switch {
	case s.isGone(e.Flags, e.Expiry):
		h.file = noFile
	case !e.ValueOK:
		h.damaged, h.key = true, append([]byte{}, e.Key...)
		in.spoilt = true
	}
	if s.manifest != nil || in.kind != segment.Log {
		s.count(h)
		return
	}
	s.lastSeq = max(s.lastSeq, e.Seq)
	if n := len(in.open); n > 0 && in.open[n-1].seq+1 != e.Seq {
		s.countAll(in) // damage took the rest of that batch
	}
	in.open = append(in.open, h)
	if e.Flags&segment.BatchGoesOn == 0 {
		s.countAll(in)
	}
}

func (s *salvage) place(in *source, offset int64, seq uint64) version {
	return version{seq: seq, file: in.number, unit: uint32(offset / segment.Alignment)}
}

func (s *salvage) isGone(flags segment.Flags, expiry int64) bool {
	return flags&segment.Tombstone != 0 || flags&segment.Expires != 0 && expiry <= s.now.UnixMilli()
}

func (s *salvage) countAll(in *source) {
	for _, h := range in.open {
		s.count(h)
	}
	in.open = in.open[:0]
}

func (s *salvage) count(h undecided) {
	if h.damaged {
		s.newest.addDamaged(h.print, h.key, h.version)
	} else {
		s.newest.add(h.print, h.version)
	}
}

// askHint learns from the hint what was where nothing can be read: keys, and
// deletes, which count all the same.
func (s *salvage) askHint(in *source) {
	if in.hint == nil || len(in.bad) == 0 {
		return
	}
	for e := range in.hint.Entries {
		if e.Offset >= in.end || !in.isBad(e.Offset) || s.isVoid(in, e.Seq) {
			continue
		}
		h := undecided{print: s.newest.hash.of(e.Key), version: s.place(in, e.Offset, e.Seq)}
		if s.isGone(e.Flags, e.Expiry) {
			h.file = noFile
		} else {
			h.damaged, h.key = true, e.Key
		}
		s.count(h)
	}
}

// isBad says whether an offset lies in a range without records.
func (in *source) isBad(offset int64) bool {
	i := sort.Search(len(in.bad), func(i int) bool { return in.bad[i].Offset > offset })
	return i > 0 && offset-in.bad[i-1].Offset < in.bad[i-1].Length
}

// forgiveZeros takes the zeros at the end of a file out of what is bad: room that
// was never written to. What the hint covers was.
func (in *source) forgiveZeros(f *patient.Reader) error {
	n := len(in.bad)
	if n == 0 || in.bad[n-1].Offset+in.bad[n-1].Length != in.end {
		return nil
	}
	from := in.bad[n-1].Offset
	to := from
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

// lastNonZero is where the bytes [from, to) of a file end but for zeros.
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

// load reads a record that was found before.
func (in *source) load(f io.ReaderAt, r *segment.Record, buffer []byte, offset int64) ([]byte, error) {
	limit := min(in.end, in.size)
	size, err := segment.ReadRecordSize(f, offset, limit)
	if err != nil {
		return buffer, err
	}
	if int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	if n, err := f.ReadAt(buffer, offset); n < len(buffer) {
		return buffer, cmp.Or(err, error(segment.ErrBounds))
	}
	if err := segment.Decode(r, buffer, in.salt, offset); err != nil {
		return buffer, err
	}
	if !r.ValueOK() {
		return buffer, errDamagedValue
	}
	return buffer, nil
}

// open opens a file. Reads of it give nothing once the context has ended.
func (s *salvage) open(name string) (*patient.Reader, error) {
	f, err := s.dir.OpenReadOnly(name)
	if err != nil {
		return nil, err
	}
	return &patient.Reader{File: f, Before: func(int64) error { return s.ctx.Err() }, AnyError: true}, nil
}

// content reads a small file, of at most max bytes.
func (s *salvage) content(name string, max int64) ([]byte, error) {
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := f.Content(max + 1)
	if int64(len(content)) > max {
		return nil, patient.ErrTooLong
	}
	return content, err
}

// refusesUs says whether an error is not the disk's or the store's fault, and
// goes away when somebody does something about it.
func refusesUs(err error) bool {
	for _, one := range []error{context.Canceled, context.DeadlineExceeded, fs.ErrPermission, errno.EMFILE, errno.ENFILE, errno.ENOMEM} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}
