package replay

import (
	"io"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// Each calls fn with each credible record of an unsealed file, where the manifest knows
// of numbers up to lastSeq.
func Each(scanner *segment.Scanner, lastSeq uint64, fn func(segment.Entry)) error {
	return scanner.Each(func(e segment.Entry) bool {
		if !Credible(&e, lastSeq) {
			return false
		}
		fn(e)
		return true
	}, func(segment.Damage) {})
}

// Scanned is an unsealed file and the records that a scan found in it.
type Scanned struct {
	File
	records
	Watermark uint64 // the highest that any record carries
}

// ScanFile finds the credible records of an unsealed file. known says where its records
// can be, and lastSeq is the highest number that the manifest knows. ScanFile calls each,
// if it is not nil, with every record.
func ScanFile(f io.ReaderAt, salt uint64, known File, lastSeq uint64, each func(segment.Entry)) (*Scanned, error) {
	found := &Scanned{File: known}
	err := Each(segment.NewScanner(f, salt, known.DataStart, known.Size), lastSeq, func(e segment.Entry) {
		if e.Offset == known.DataStart {
			found.HasFirst, found.Previous = true, e.Previous
		}
		if e.Flags&segment.HasWatermark != 0 {
			found.Watermark = max(found.Watermark, e.Watermark)
		}
		found.add(RecordOf(&e))
		if each != nil {
			each(e)
		}
	})
	return found, err
}

// Decide says what counts of the unsealed files, in the order of the log. It calls
// damaged for each record that counts and whose value is damaged, with the index of its
// file.
func Decide(files []*Scanned, sealedSeq, watermark uint64, damaged func(i int, r Record)) []Part {
	known := make([]File, len(files))
	for i, f := range files {
		known[i] = f.File
	}
	log := New(known, sealedSeq, watermark)
	for i, f := range files {
		for n := range f.count {
			r := f.At(n)
			if counts, _ := log.Add(r); counts && !r.ValueOK {
				damaged(i, r)
			}
		}
		log.EndFile()
	}
	return log.Finish()
}

// records are those of a file, in order. There can be millions, so they are kept in
// chunks: a slice that grows would copy them again and again.
type records struct {
	chunks [][]Record
	count  int
}

const recordsInChunk = 16 << 10

// Count is how many records were found.
func (r *records) Count() int { return r.count }

func (r *records) add(one Record) {
	if r.count%recordsInChunk == 0 {
		r.chunks = append(r.chunks, make([]Record, 0, min(r.count, recordsInChunk)))
		prefetch.Pages(r.chunks[len(r.chunks)-1])
	}
	last := &r.chunks[len(r.chunks)-1]
	*last = append(*last, one)
	r.count++
}

// At is the i-th of them.
func (r *records) At(i int) Record { return r.chunks[i/recordsInChunk][i%recordsInChunk] }
