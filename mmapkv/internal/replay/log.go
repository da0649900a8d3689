package replay

import (
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/segment"
)

// File is what is known of an unsealed file before its records are replayed.
type File struct {
	DataStart int64 // where its first record stands
	Size      int64 // where the file ends
	// HasFirst says that the first record can be read, and Previous what that says of
	// the end of the file before.
	HasFirst bool
	Previous segment.End
}

// Part is what counts of a file.
type Part struct {
	Records int         // so many of those that were found, from the first one on
	End     segment.End // behind the last of them, and behind damage
	Synced  int         // so many of them are known to be on disk
	Keep    segment.End // behind the last of those, and behind damage
	Damaged bool        // something in front of End cannot be read, or a value of a record
	// Discarded is how many bytes there are from End to the end of the last record that
	// was found. It is negative where a damaged range goes further than that.
	Discarded int64
}

// Lost is a range of a file where there were records that were on disk and cannot be
// read: those behind From.Seq, up to To.Seq.
type Lost struct {
	// From is where the log was, and To what it goes on behind.
	From, To segment.End
}

// Log follows the log through its unsealed files. For each file in turn it is given the
// records by Add, and then EndFile; Finish says what counts. What it remembers does not
// grow with the number of records. Not for concurrent use.
type Log struct {
	watermark uint64
	files     []state
	at        int // the file whose records come now
	reached   uint64
	ended     bool // the log has ended, and nothing that follows counts

	// Of the file whose records come now:
	stopped bool // the log goes no further in it
	torn    bool // the log ends in it, and does not go on in the next one
	// The file before does not reach as far as the log did, as far as anybody knows,
	// and the first record of this one could not be read.
	unlinked bool
}

// state is what Log knows of a file.
type state struct {
	File
	Part
	found    int   // records, of which some may not count
	foundEnd int64 // behind the last of those
	open     run   // beyond the watermark, of a batch that goes on
	unsynced run   // beyond the watermark
}

// New begins to follow a log in the first of its unsealed files. sealedSeq is where the
// log was at the end of the sealed ones; all records up to the watermark were on disk.
func New(files []File, sealedSeq, watermark uint64) *Log {
	l := &Log{watermark: watermark, files: make([]state, len(files))}
	for i, f := range files {
		l.files[i].File = f
	}
	l.enter(sealedSeq)
	return l
}

// enter begins with the file whose records come now. The log has reached the number.
func (l *Log) enter(seq uint64) {
	l.stopped, l.torn, l.reached = false, false, seq
	if l.at < len(l.files) {
		f := &l.files[l.at]
		f.End = segment.End{Offset: f.DataStart, Seq: seq}
	}
}

// next is the file behind the one whose records come now, nil if there is none.
func (l *Log) next() *state {
	if l.at+1 < len(l.files) {
		return &l.files[l.at+1]
	}
	return nil
}

// Add takes the next record that was found in the file, and says whether it counts,
// unless its batch turns out not to be whole. If it counts and its value is not OK,
// that is damage. lost, if not nil, is damage in front of the record.
func (l *Log) Add(r Record) (counts bool, lost *Lost) {
	f := &l.files[l.at]
	if f.found == 0 && l.unlinked && r.Offset != f.DataStart && l.watermark <= f.End.Seq {
		l.ended = true // the log ended in the file before, and this is behind its end
	}
	f.found++
	f.foundEnd = r.End().Offset
	if l.ended || l.stopped {
		return false, nil
	}
	if !l.follows(f, r) {
		if l.endsHere(f) || r.Seq-1 > l.watermark {
			l.stopped = true
			return false, nil
		}
		lost = f.lose(r.start())
	}
	if !r.ValueOK {
		if r.Seq > l.watermark {
			l.stopped, l.torn = true, true
			return false, lost
		}
		f.Damaged = true
	}
	f.Records++
	f.End = r.End()
	f.unsynced.add(r, r.Seq > l.watermark)
	f.open.add(r, r.Seq > l.watermark && r.BatchGoesOn)
	return true, lost
}

// follows says whether nothing is missing in front of a record. The number of a file's
// first one is free: the log may have passed over some.
func (l *Log) follows(f *state, r Record) bool {
	return r.Offset == f.End.Offset && (f.Records == 0 || r.Seq == f.End.Seq+1)
}

// endsHere says whether the next file's first record names the place that the log has
// reached as the end of this file.
func (l *Log) endsHere(f *state) bool {
	next := l.next()
	return next != nil && next.HasFirst && next.Previous == f.End
}

// lose makes the range from where the log is damage. A file may be cut anywhere, even
// where a record ends: so that a hint can testify to it, the range is never empty, and
// so that all of it is damage, it ends where the file does.
func (f *state) lose(to segment.End) *Lost {
	lost := &Lost{From: f.End, To: to}
	whole := to.Offset &^ (segment.Alignment - 1)
	f.End.Offset = max(whole, f.End.Offset+segment.Alignment)
	f.Damaged = true
	return lost
}

// EndFile says that the file has no more records; those of the next one follow. lost,
// if not nil, is damage at the end of the file.
func (l *Log) EndFile() (lost *Lost) {
	f := &l.files[l.at]
	if l.unlinked && f.found == 0 && l.watermark > f.End.Seq {
		// Nothing is here either: all up to the watermark was lost in the file before.
		l.files[l.at-1].End.Seq = l.watermark
		f.End.Seq = l.watermark
	}
	l.unlinked = false
	if l.torn {
		l.ended = true
	}
	if !l.ended {
		lost = l.leave(f)
	}
	l.at++
	l.enter(f.End.Seq)
	return lost
}

// leave decides what it means where the file ends, and whether the log goes on in the
// next one.
func (l *Log) leave(f *state) (lost *Lost) {
	next := l.next()
	switch {
	case l.endsHere(f):
	case next == nil:
		if l.watermark > f.End.Seq {
			lost = f.lose(segment.End{Offset: f.Size, Seq: l.watermark})
			f.End.Seq = l.watermark
		}
	case next.HasFirst && next.Previous.Offset > f.End.Offset && next.Previous.Seq <= l.watermark:
		// All that the next file says of this one was on disk.
		lost = f.lose(segment.End{Offset: min(next.Previous.Offset, f.Size), Seq: next.Previous.Seq})
		f.End = next.Previous
	case l.watermark > f.End.Seq:
		lost = f.lose(segment.End{Offset: f.Size, Seq: l.watermark})
		l.unlinked = !next.HasFirst
		l.ended = next.HasFirst && next.Previous.Seq > l.watermark
	default:
		l.unlinked = !next.HasFirst
		l.ended = next.HasFirst
	}
	return lost
}

// Reached is the number that the log has reached in the files that have ended, with all
// records of a batch that may not be whole.
func (l *Log) Reached() uint64 { return l.reached }

// Finish says what counts of each file.
func (l *Log) Finish() (parts []Part) {
	l.cutOpenBatch()
	for i := range l.files {
		f := &l.files[i]
		f.divide()
		parts = append(parts, f.Part)
	}
	return parts
}

// cutOpenBatch takes back the records of a batch whose last ones are missing, at the
// end of the log. What is known to be on disk stays: there damage took them.
func (l *Log) cutOpenBatch() {
	for i := len(l.files) - 1; i >= 0; i-- {
		f := &l.files[i]
		if f.Records == 0 {
			continue
		}
		if f.open.count > 0 {
			f.Records -= f.open.count
			f.unsynced.count -= f.open.count // they are at its end
			f.End = f.open.start
		}
		return
	}
}

// divide finds which of the records that count are known to be on disk.
func (f *state) divide() {
	f.Synced, f.Keep = f.Records-f.unsynced.count, f.End
	invariant.Check(0 <= f.Synced && f.Records <= f.found, "%d records count, %d on disk, of %d", f.Records, f.Synced, f.found)
	if f.unsynced.count > 0 {
		f.Keep = f.unsynced.start
	}
	if f.found > f.Records {
		f.Discarded = f.foundEnd - f.End.Offset
	}
}
