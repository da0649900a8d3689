package replay

import "github.com/mmapkv/mmapkv/segment"

// Record is a record that the scan of an unsealed file found and that is credible.
type Record struct {
	Offset, Size int64  // in the file, in bytes
	Seq          uint64 // not 0
	BatchGoesOn  bool   // it is not the last one of its batch
	ValueOK      bool   // the value matches its checksum
}

// End is where the log is behind the record.
func (r Record) End() segment.End { return segment.End{Offset: r.Offset + r.Size, Seq: r.Seq} }

// start is where the log is in front of it.
func (r Record) start() segment.End { return segment.End{Offset: r.Offset, Seq: r.Seq - 1} }

// RecordOf is what counts of an entry of a scan.
func RecordOf(e *segment.Entry) Record {
	return Record{Offset: e.Offset, Size: e.Size, Seq: e.Seq, BatchGoesOn: e.Flags&segment.BatchGoesOn != 0, ValueOK: e.ValueOK}
}

// MaxUntold is more than the sequence numbers that a store can give from one edit of
// the manifest to the next, in the two files that it may have in hand or in one batch.
const MaxUntold = 1 << 32

// Credible says whether a store whose manifest knows of numbers up to lastSeq can have
// written what a record tells of the log. What is believed goes into the manifest, and
// the numbers go on from there.
func Credible(e *segment.Entry, lastSeq uint64) bool {
	return e.Seq <= min(lastSeq+MaxUntold, segment.MaxSeq) && e.Watermark < e.Seq && e.Previous.Seq < e.Seq &&
		e.Previous.Offset >= 0 && e.Previous.Offset <= segment.MaxFileSize && e.Previous.Offset%segment.Alignment == 0
}

// run is the records at the end of what counts of a file that have something in common.
type run struct {
	count int
	start segment.End // in front of the first
}

// add takes the next record of the file, which is one of them or ends the run.
func (r *run) add(next Record, belongs bool) {
	if !belongs {
		*r = run{}
		return
	}
	if r.count == 0 {
		r.start = next.start()
	}
	r.count++
}
