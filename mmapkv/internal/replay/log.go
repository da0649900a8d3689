package replay

import (
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/segment"
)

// Log follows the log through its unsealed files. For each file in turn the caller passes every
// record to Add, and then calls EndFile. In the end Finish says what counts. What Log remembers
// does not grow with the number of records. One goroutine at a time uses it.
type Log struct {
	watermark uint64
	files     []state
	at        int    // the index of the current file, whose records are being added
	reached   uint64 // the number that the log has reached in the files that have ended
	ended     bool   // nothing that follows counts

	// Of the current file:
	torn bool // the log ends in it, and does not go on in the next one
	// unconfirmed says that this file's first record, which would name the end of the file
	// before, could not be read. So nothing confirms that the log goes on here.
	unconfirmed bool
}

// File is what is known of an unsealed file before its records are replayed. Offsets and sizes are
// in bytes.
type File struct {
	DataStart int64       // where the first record begins
	Size      int64       // of the file
	HasFirst  bool        // the first record can be read
	Previous  segment.End // where the file before ends, as the first record says; zero without HasFirst

	// Known is where the records end that partial hints know: whole commits from the first record on,
	// without gaps, all up to the watermark. KnownRecords counts them. They are not passed to Add.
	// Both are zero if there are none. With them HasFirst is set.
	Known        segment.End
	KnownRecords int
}

// Part is what counts of a file.
type Part struct {
	Records   int         // how many of the found records count: the first ones
	End       segment.End // where the log is after the last of them, or after damage
	Synced    int         // how many of them are known to be on disk: the first ones
	Keep      segment.End // where the log is after the last of those, or after damage
	Damaged   bool        // something before End, or a record's value, cannot be read
	Discarded int64       // bytes from End to the end of the last found record; negative if damage reaches further
}

// Lost is a range of a file whose records were on disk and cannot be read: those after From.Seq, up
// to To.Seq.
type Lost struct {
	From segment.End // where the log was
	To   segment.End // after which it goes on
}

// state is what Log knows of a file.
type state struct {
	file     File
	part     Part
	found    int   // records, which may not all count
	foundEnd int64 // where the last of them ends
	stopped  int64 // where the first one begins that the log does not reach; 0 if it reaches all
	open     run   // of an unfinished batch, after the watermark
	unsynced run   // after the watermark
}

// New begins to follow a log in the first of its unsealed files. The sealed files end with the
// number sealedSeq, and all records up to the watermark were on disk.
func New(files []File, sealedSeq, watermark uint64) *Log {
	l := &Log{watermark: watermark, files: make([]state, len(files))}
	for i, f := range files {
		l.files[i].file = f
	}
	l.enter(sealedSeq)
	return l
}

// enter begins the current file. The log has reached the number seq.
func (l *Log) enter(seq uint64) {
	l.torn, l.reached = false, seq
	if l.at < len(l.files) {
		f := &l.files[l.at]
		f.part.End = segment.End{Offset: f.file.DataStart, Seq: seq}
		if f.file.KnownRecords > 0 {
			l.addKnown(f)
		}
	}
}

// addKnown adds the records that partial hints know.
func (l *Log) addKnown(f *state) {
	invariant.Check(f.file.HasFirst && f.file.Known.Seq <= l.watermark, "records up to %d are known, but only those up to %d are on disk", f.file.Known.Seq, l.watermark)
	f.found, f.foundEnd = f.file.KnownRecords, f.file.Known.Offset
	if !l.ended {
		f.part.Records, f.part.End = f.file.KnownRecords, f.file.Known
	}
}

// next returns the file after the current one, nil if there is none.
func (l *Log) next() *state {
	if l.at+1 < len(l.files) {
		return &l.files[l.at+1]
	}
	return nil
}

// Add adds the next record found in the current file, and reports whether it counts. A record of a
// batch still turns out not to count if the batch is not whole. If a record counts and its value is
// not OK, the value is damaged. lost, if not nil, is damage before the record.
func (l *Log) Add(r Record) (counts bool, lost *Lost) {
	f := &l.files[l.at]
	if f.found == 0 && l.unconfirmed && r.Offset != f.file.DataStart && l.watermark <= f.part.End.Seq {
		l.ended = true // the log ended in the file before
	}
	f.found++
	f.foundEnd = r.end().Offset
	if l.ended || f.stopped > 0 {
		return false, nil
	}
	if !l.follows(f, r) {
		if l.endsHere(f) || r.Seq-1 > l.watermark {
			f.stopped = r.Offset
			return false, nil
		}
		lost = f.lose(r.start())
	}
	if !r.ValueOK {
		if r.Seq > l.watermark {
			f.stopped, l.torn = r.Offset, true
			return false, lost
		}
		f.part.Damaged = true
	}
	f.part.Records++
	f.part.End = r.end()
	f.unsynced.add(r, r.Seq > l.watermark)
	f.open.add(r, r.Seq > l.watermark && r.BatchGoesOn)
	return true, lost
}

// follows reports whether nothing is missing before a record. The first record of a file may have
// any number: the log may have passed over some.
func (l *Log) follows(f *state, r Record) bool {
	return r.Offset == f.part.End.Offset && (f.part.Records == 0 || r.Seq == f.part.End.Seq+1)
}

// endsHere reports whether the next file's first record names the place that the log has reached as
// the end of this file.
func (l *Log) endsHere(f *state) bool {
	next := l.next()
	return next != nil && next.file.HasFirst && next.file.Previous == f.part.End
}

// unread returns where the rest of the file ends in which nothing was found. A record after that does
// not count, so it must not lie in the file's damage, before its end.
func (f *state) unread() int64 {
	if f.stopped > 0 {
		return f.stopped
	}
	return f.file.Size
}

// lose marks the range from where the log is up to the given place as damage, and moves the log
// past it. The range is never empty, so that a hint can record it, even if the file was cut where a
// record ends. It begins and ends where a record can.
func (f *state) lose(to segment.End) *Lost {
	lost := &Lost{From: f.part.End, To: to}
	whole := to.Offset &^ (segment.Alignment - 1)
	f.part.End.Offset = max(whole, f.part.End.Offset+segment.Alignment)
	f.part.Damaged = true
	return lost
}

// EndFile ends the current file: the records of the next one follow. lost, if not nil, is damage at
// the end of the file.
func (l *Log) EndFile() (lost *Lost) {
	f := &l.files[l.at]
	if l.unconfirmed && f.found == 0 && l.watermark > f.part.End.Seq {
		// This file has no records either: all up to the watermark were lost in the file before.
		l.files[l.at-1].part.End.Seq = l.watermark
		f.part.End.Seq = l.watermark
	}
	l.unconfirmed = false
	if l.torn {
		l.ended = true
	}
	if !l.ended {
		lost = l.leave(f)
	}
	l.at++
	l.enter(f.part.End.Seq)
	return lost
}

// leave leaves the current file for the next one. It returns what is missing at the end of the
// current file, if that was on disk. It sets ended if the log does not go on in the next file, and
// unconfirmed if only that file's records can tell.
func (l *Log) leave(f *state) (lost *Lost) {
	next := l.next()
	switch {
	case l.endsHere(f):
	case next == nil:
		if l.watermark > f.part.End.Seq {
			lost = f.lose(segment.End{Offset: f.unread(), Seq: l.watermark})
			f.part.End.Seq = l.watermark
		}
	case next.file.HasFirst && next.file.Previous.Offset > f.part.End.Offset && next.file.Previous.Seq <= l.watermark:
		// All that the next file says of this one was on disk.
		lost = f.lose(segment.End{Offset: min(next.file.Previous.Offset, f.file.Size), Seq: next.file.Previous.Seq})
		f.part.End = next.file.Previous
	case l.watermark > f.part.End.Seq:
		lost = f.lose(segment.End{Offset: f.unread(), Seq: l.watermark})
		l.unconfirmed = !next.file.HasFirst
		l.ended = next.file.HasFirst && next.file.Previous.Seq > l.watermark
	default:
		l.unconfirmed = !next.file.HasFirst
		l.ended = next.file.HasFirst
	}
	return lost
}

// Reached returns the number that the log has reached in the files that have ended. It includes the
// records of a batch that may not be whole.
func (l *Log) Reached() uint64 { return l.reached }

// Finish returns what counts of each file, once all files have ended.
func (l *Log) Finish() (parts []Part) {
	l.cutOpenBatch()
	for i := range l.files {
		f := &l.files[i]
		f.divide()
		parts = append(parts, f.part)
	}
	return parts
}

// cutOpenBatch drops the records of a batch at the end of the log whose last records are missing.
// It keeps those known to be on disk, since then damage took the others.
func (l *Log) cutOpenBatch() {
	for i := len(l.files) - 1; i >= 0; i-- {
		f := &l.files[i]
		if f.part.Records == 0 {
			continue
		}
		if f.open.count > 0 {
			f.part.Records -= f.open.count
			f.unsynced.count -= f.open.count // the unsynced ones end with them
			f.part.End = f.open.start
		}
		return
	}
}

// divide finds how many of the records that count are known to be on disk, and what is discarded.
func (f *state) divide() {
	f.part.Synced, f.part.Keep = f.part.Records-f.unsynced.count, f.part.End
	invariant.Check(0 <= f.part.Synced && f.part.Records <= f.found, "%d records count, %d on disk, of %d", f.part.Records, f.part.Synced, f.found)
	if f.unsynced.count > 0 {
		f.part.Keep = f.unsynced.start
	}
	if f.found > f.part.Records {
		f.part.Discarded = f.foundEnd - f.part.End.Offset
	}
}
