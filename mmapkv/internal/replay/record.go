package replay

import "github.com/mmapkv/mmapkv/segment"

// Record is a credible record that a scan found in an unsealed file.
type Record struct {
	Offset      int64  // in the file, in bytes
	Size        int64  // in bytes
	Seq         uint64 // its sequence number, never 0
	BatchGoesOn bool   // it is not the last record of its batch
	ValueOK     bool   // the value matches its checksum
}

// start returns where the log is before the record.
func (r Record) start() segment.End { return segment.End{Offset: r.Offset, Seq: r.Seq - 1} }

// end returns where the log is after the record.
func (r Record) end() segment.End { return segment.End{Offset: r.Offset + r.Size, Seq: r.Seq} }

// RecordOf returns the Record of an entry that a scan found.
func RecordOf(e *segment.Entry) Record {
	return Record{Offset: e.Offset, Size: e.Size, Seq: e.Seq, BatchGoesOn: e.Flags&segment.BatchGoesOn != 0, ValueOK: e.ValueOK}
}

// MaxUntold exceeds the number of sequence numbers that a store can give between two edits of the
// manifest, be it in the two files that may be unsealed or in one batch.
const MaxUntold = 1 << 32

// Credible reports whether a store whose manifest knows numbers up to lastSeq can have written what
// a record says of the log. What is believed goes into the manifest, and the numbers go on from
// there.
func Credible(e *segment.Entry, lastSeq uint64) bool {
	return e.Seq <= min(lastSeq+MaxUntold, segment.MaxSeq) && e.Watermark < e.Seq && e.Previous.Seq < e.Seq &&
		e.Previous.Offset >= 0 && e.Previous.Offset <= segment.MaxFileSize && e.Previous.Offset%segment.Alignment == 0
}

// run is the last records that count of a file, as far back as they have something in common.
type run struct {
	count int
	start segment.End // before the first
}

// add adds the next record of the file if it belongs to the run, and empties the run otherwise.
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
